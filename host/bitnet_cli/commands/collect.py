"""`bitnet-cli collect`: what units publish, into a database and into phrases to train on."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import extras
from ..errors import BitnetError
from ..phrases.phrases import read_rows
from .arguments import add_json

if TYPE_CHECKING:
    from ..cloud.collect import Counts, Export, Store, Unit

HELP = "collect faults and phrases of units from an MQTT broker, and make phrases to train on of them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--database", required=True, type=Path, help="SQLite file, made by --broker if it is not there"
    )
    parser.add_argument(
        "--broker", help="mqtt[s]://[user:password@]host[:port]; without it nothing is collected"
    )
    parser.add_argument("--topic", default="bitnet/+", help="what the units publish on (default: bitnet/+)")
    parser.add_argument("--ca", type=Path, help="certificate of the authority that signed an mqtts broker's")
    parser.add_argument(
        "--client-id", default="bitnet-collect", help="for which the broker keeps messages between two runs"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="also write the phrases as .jsonl for `train`, at the end; labels that the file has stay",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="whose tokens stand in records without text"
    )
    add_json(parser, "the summary as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Collect until Ctrl-C, write the phrases, print a summary."""
    extras.require("cloud")
    from ..cloud.broker import parse_broker
    from ..cloud.collect import Store, collect
    from ..files import require_file

    broker = parse_broker(args.broker, args.ca) if args.broker else None
    if args.output:
        require_file(args.output)
        _rows_before(args.output)  # what cannot be read is to be told now, not after hours
    if not broker and not args.database.is_file():
        raise BitnetError(
            f"{args.database}: no such database: name the one to read, or collect with --broker"
        )
    with Store(args.database) as store:
        counts = None
        if broker:
            print(f"collecting {args.topic} from {broker.host}:{broker.port}; Ctrl-C ends", file=sys.stderr)
            counts = collect(broker, args.topic, store, args.client_id, _show)
            if sys.stderr.isatty():
                print(file=sys.stderr)
        export = _write_phrases(store, args.output, args.model) if args.output else None
        _summarise(args, store.units(), counts, export)


def _show(counts: "Counts") -> None:
    """Write the counts over one line, if a person reads it."""
    if sys.stderr.isatty():
        print(
            f"\r{counts.records} records, {counts.duplicates} twice, {counts.rejected} rejected",
            end="",
            file=sys.stderr,
            flush=True,
        )


def _write_phrases(store: "Store", output: Path, model: Path | None) -> "Export":
    from ..cloud.collect import export_phrases
    from ..files import write_atomically

    # Read anew: it may have been labelled while records came in.
    export = export_phrases(store, model, _rows_before(output))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in export.rows]
    write_atomically(output, "".join(lines).encode())
    return export


def _rows_before(output: Path) -> list[dict[str, Any]]:
    return read_rows(output) if output.exists() else []


def _summarise(
    args: argparse.Namespace, units: "list[Unit]", counts: "Counts | None", export: "Export | None"
) -> None:
    if args.json:
        summary: dict[str, object] = {"units": [asdict(unit) for unit in units]}
        if counts:
            summary["collected"] = asdict(counts)
        if export:
            summary["phrases"] = len(export.rows)
            summary["unlabelled"] = export.unlabelled
            summary["without_text"] = export.without_text
        print(json.dumps(summary))
        return
    print(f"{'unit':24} {'records':>9} {'missing':>9} {'of these dropped by the unit':>30}")
    for unit in units:
        print(f"{unit.unit:24} {unit.records:9,} {unit.missing:9,} {unit.drops:30,}")
    if export:
        print(
            f"{len(export.rows):,} phrases in {args.output}, {export.unlabelled:,} of them to be labelled:"
            ' replace the intent "?", then `bitnet-cli train` takes the file'
        )
        if export.without_text:
            print(f"{export.without_text:,} records have tokens only: give their model with --model")
