"""`bitnet-cli export`: a checkpoint becomes the `.bitnet` file that boards run."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .arguments import add_json

HELP = "convert a checkpoint to a .bitnet file, and check its integers against the floats"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--model", required=True, type=Path, help="checkpoint folder, as `bitnet-cli train` writes it"
    )
    parser.add_argument("--output", required=True, type=Path, help="the .bitnet file to write")
    parser.add_argument(
        "--quantize-weight", choices=("1", "1.58"), help="binary or ternary (default: as trained)"
    )
    parser.add_argument(
        "--quantize-activation", type=int, choices=(8, 4, 2), help="bits (default: as trained)"
    )
    parser.add_argument(
        "--test", type=Path, help="held-out phrases (.jsonl, .csv) for the comparison with the floats"
    )
    add_json(parser, "the report as JSON")


def run(args: argparse.Namespace) -> None:
    """Export, write, print sizes and agreement."""
    from .. import extras

    extras.require("train")
    from ..files import read_file, write_atomically
    from ..model.modelfile import part_sizes
    from ..model.packing import BINARY, TERNARY
    from ..phrases.phrases import read_phrases
    from ..rules.generate import FILE_NAME, rules_path
    from ..training.checkpoint import load
    from ..training.export import WANTED_AGREEMENT, export, measure_agreement, requantize

    phrases = read_phrases(args.test) if args.test else []
    checkpoint = load(args.model)
    weight_type = {None: None, "1": BINARY, "1.58": TERNARY}[args.quantize_weight]
    checkpoint = requantize(checkpoint, weight_type, args.quantize_activation)
    model = export(checkpoint)
    report: dict[str, Any] = {"file": str(args.output), "bytes": len(model), "parts": part_sizes(model)}
    if phrases:
        agreement = measure_agreement(checkpoint, model, phrases)
        report["agreement"] = {"choices": agreement.choices, "share": agreement.share}
        report["integers"] = {k: v for k, v in agreement.integers.as_dict().items() if k != "intents"}
    write_atomically(args.output, model)
    if (args.model / FILE_NAME).is_file():
        write_atomically(rules_path(args.output), read_file(args.model / FILE_NAME))
    elif rules_path(args.output).exists():
        # They may be by hand or by `rules`, so they stay.
        print(
            f"bitnet-cli export: warning: {args.model} has no rules, and {rules_path(args.output)} is there "
            "already: `deploy` takes it along; remove it if it is another model's",
            file=sys.stderr,
        )
    print(json.dumps(report) if args.json else _as_text(report))
    if phrases and agreement.share < WANTED_AGREEMENT:
        print(
            f"bitnet-cli export: warning: integers and floats agree on {agreement.share:.2%} of the choices, "
            f"less than {WANTED_AGREEMENT:.1%}: train with the weights and activation bits that you export",
            file=sys.stderr,
        )


def _as_text(report: dict[str, Any]) -> str:
    lines = [f"{part:12} {size:9,} bytes" for part, size in report["parts"].items()]
    lines.append(f"{'total':12} {report['bytes']:9,} bytes  {report['file']}")
    if "agreement" in report:
        agreement, integers = report["agreement"], report["integers"]
        lines.append(
            f"integers choose as floats do: {agreement['share']:.2%} of {agreement['choices']} choices"
        )
        lines.append(
            f"in integers: intent accuracy {integers['accuracy']:.1%}, "
            f"intent and slots {integers['exact_match']:.1%}"
        )
    return "\n".join(lines)
