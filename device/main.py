# Start-up of a board: loads the model and answers AT commands where the REPL would be.

import asyncio
import sys

from bitnet import ModelError, Session, load
from bitnet.at import Service
from bitnet.at.stdio import StdioReader


def main() -> None:
    session = None
    fault = ""
    try:
        session = Session(load())
    except ModelError as error:
        fault = str(error)
    except MemoryError:
        fault = "not enough memory for the model"
    writer = asyncio.StreamWriter(sys.stdout.buffer, {})
    asyncio.run(Service(StdioReader(), writer, session, fault).run())


main()
