"""`bitnet-cli train`: phrases in, checkpoint and report out."""

import argparse
import json
import sys
from pathlib import Path

from ..model.packing import BINARY, TERNARY
from ..training.recipe import Recipe
from .arguments import add_json, add_phrases

HELP = "train a model on phrase files (.yaml templates in Home Assistant's syntax, .jsonl, .csv)"

_WEIGHT_TYPES = {"ternary": TERNARY, "binary": BINARY}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_phrases(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder for the checkpoint and its report")
    parser.add_argument(
        "--test", type=Path, help="held-out phrases (default: test.jsonl in the folder, else one in ten)"
    )
    parser.add_argument(
        "--without-slots", default="", help="slots to leave out, as a,b,c: implied ones, not copied"
    )
    parser.add_argument("--name", help="the model's name (default: that of the output folder)")
    parser.add_argument(
        "--system",
        default="",
        help="system text before every phrase (the model file stores its part of the KV cache)",
    )
    parser.add_argument("--weights", choices=_WEIGHT_TYPES, default="ternary", help="(default %(default)s)")
    parser.add_argument(
        "--activation-bits",
        type=int,
        choices=(8, 4, 2),
        default=Recipe.activation_bits,
        help="(default %(default)s)",
    )
    for name, default, what in (
        ("--hidden-size", Recipe.hidden_size, "width of the model"),
        ("--intermediate-size", Recipe.intermediate_size, "width of its feed-forward part"),
        ("--layers", Recipe.num_layers, "decoder layers"),
        ("--vocabulary", Recipe.vocab_budget, "tokens at most"),
        ("--steps", Recipe.steps, f"batches of {Recipe.batch_size} phrases"),
        ("--threshold", Recipe.threshold, "refuse below this confidence, in permille"),
        ("--seed", Recipe.seed, "of the random numbers"),
    ):
        parser.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default {default})")
    parser.add_argument(
        "--no-teacher", action="store_true", help="train on labels alone: faster, a few points worse"
    )
    add_json(parser, "the report as JSON")


def run(args: argparse.Namespace) -> None:
    """Train, save, and print how good the model is."""
    # Imported here: PyTorch is large, and an extra that the other commands do not need.
    from .. import extras

    extras.require("train")
    from ..files import require_folder, write_atomically
    from ..phrases.templates import load
    from ..progress import ProgressBars
    from ..rules.generate import FILE_NAME
    from ..training import checkpoint as checkpoints
    from ..training.report import draw_confusions, evaluate
    from ..training.train import hold_out, make_rules, train

    recipe = Recipe(
        name=args.name or args.output.name,
        system=args.system,
        seed=args.seed,
        hidden_size=args.hidden_size,
        intermediate_size=args.intermediate_size,
        num_layers=args.layers,
        weight_type=_WEIGHT_TYPES[args.weights],
        activation_bits=args.activation_bits,
        vocab_budget=args.vocabulary,
        threshold=args.threshold,
        steps=args.steps,
        distillation=0.0 if args.no_teacher else Recipe.distillation,
    )
    book = load(args.phrases, filter(None, args.without_slots.split(",")))
    for warning in book.warnings:
        print(f"bitnet-cli train: {warning}", file=sys.stderr)
    held_out = hold_out(book, args.phrases, args.test, recipe.seed)
    require_folder(args.output)
    with ProgressBars() as progress:
        checkpoint = train(book, recipe, progress)
        checkpoints.save(checkpoint, args.output)
        write_atomically(args.output / FILE_NAME, make_rules(book, recipe, progress).encode())
    evaluation = evaluate(checkpoint, held_out)
    figures = json.dumps(evaluation.as_dict(), indent=2)
    write_atomically(args.output / "report.json", f"{figures}\n".encode())
    write_atomically(args.output / "report.txt", f"{evaluation.as_text()}\n".encode())
    draw_confusions(evaluation, checkpoint.labels.intents, args.output / "confusion.png")
    print(json.dumps(evaluation.as_dict()) if args.json else evaluation.as_text())
    if not args.json:
        print(f"\ncheckpoint, rules, report and confusion.png are in {args.output}")
