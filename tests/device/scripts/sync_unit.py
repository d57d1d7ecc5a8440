# A unit with cloud sync. Arguments: folder of the queue, its cap, port of the broker, name, JSON of further
# arguments of Sync, certificate of the broker's authority or nothing. Each line of input is a JSON list, a
# command and its arguments; each is answered by a line.

import asyncio
import json
import sys

from bitnet import Answer
from bitnet.at.stdio import StdioReader
from bitnet.cloud import Queue, Sync, connector

folder, cap, port, name, options = sys.argv[1:6]
ca = sys.argv[6] if len(sys.argv) > 6 else None
queue = Queue(folder, int(cap))
sync = Sync(queue, connector("127.0.0.1", int(port), ca), name, **json.loads(options))


def withdraw():
    try:
        sync.withdraw()
    except OSError:
        return False
    return True


async def execute(command, *arguments):
    if command == "faults":
        start, count = arguments
        stored = [sync.log("inference", number=number) for number in range(start, start + count)]
        return stored.count(True)
    if command == "error":
        return sync.log(arguments[0], note=arguments[1])
    if command == "phrase":
        text, tokens = arguments
        answer = Answer("unknown", 120, {"room": text}, "model", 1, 2)
        return sync.phrase(answer, text, tokens)
    if command == "withdraw":
        return withdraw()
    if command == "consent":
        sync.consent = True
    if command == "port":
        sync._connect = connector("127.0.0.1", arguments[0])
    if command == "flush":
        return await sync.flush(*arguments)
    return {
        "connected": sync.connected,
        "error": sync.last_error,
        "first": queue.first,
        "next": queue.next,
        "depth": queue.depth,
        "drops": queue.drops,
        "bytes": queue.bytes,
        "epoch": queue.epoch,
    }


async def main():
    reader = StdioReader()
    task = asyncio.create_task(sync.run())
    line = b""
    while True:
        data = await reader.read(64)
        if not data:
            break
        line += data
        while b"\n" in line:
            command, line = line.split(b"\n", 1)
            print(json.dumps(await execute(*json.loads(command))))
    task.cancel()


asyncio.run(main())
