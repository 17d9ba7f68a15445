"""The command line of `export`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normlab.command_lines import (
    add_run,
    add_trust,
    load_trusted_code,
    mistakes_end,
)

if TYPE_CHECKING:
    from normlab.export.export import Exported

# The options for arguments of functions that messages name.
OPTIONS = {
    "trusted": "--trust",
    "form": "--format",
    "out": "--out",
    "input": "--samples",
}
FORMATS = ("onnx", "torch_export", "safetensors")
MOST_SHOWN = 5  # norms that were left alone


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the network of a stored run for other programs.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = make_parser().parse_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        _export(options)


def _export(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from rich.console import Console

    from normlab.config.trust import guard_process
    from normlab.export.export import export_run

    guard_process()
    with mistakes_end(OPTIONS):
        trusted = load_trusted_code(options)
        exported = export_run(
            options.run,
            options.format,
            options.out,
            options.fold,
            options.samples,
            trusted,
        )
    _print(Console(highlight=False), exported)


def _print(console: Any, exported: "Exported") -> None:
    from normlab.export.formats import INPUT, OUTPUT, file_size
    from normlab.terminal import escaped

    def line(name: str, text: str) -> None:
        console.print(f"[dim]{name:<10}[/dim]{escaped(text)}", soft_wrap=True)

    line("file", f"{exported.path} ({file_size(exported.path)})")
    shape = ", ".join(map(str, exported.input_shape))
    line("input", f"{INPUT} (batch, {shape})")
    line("output", f"{OUTPUT} (batch, {exported.num_outputs})")
    if exported.folds:
        folded = [fold for fold in exported.folds if fold.into is not None]
        line("folded", f"{len(folded)} of {len(exported.folds)} norms")
        left = [fold for fold in exported.folds if fold.into is None]
        for fold in left[:MOST_SHOWN]:
            line("", f"{fold.name} stays: {fold.why}")
    agreement = f"outputs differ by at most {exported.largest_difference:.2g}"
    if exported.same_class is not None:
        agreement += f", {exported.same_class:.1%} have the same class"
    line("agreement", f"{agreement} ({exported.samples})")


def make_parser() -> argparse.ArgumentParser:
    """The options of `export`."""
    parser = argparse.ArgumentParser(
        description="Write the best network of a stored run for other programs, with "
        "the names of its classes and the preparation of its inputs as metadata, and "
        "compare the file with the network.",
        epilog="example: %(prog)s outputs/digits-mlp/RUN --format onnx --fold",
    )
    add_run(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="onnx",
        help="onnx (a graph for any runtime), torch_export (a graph for PyTorch) or "
        "safetensors (weights and buffers alone) (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write (default: model.onnx, model.pt2 or model.safetensors in "
        "the folder of the run)",
    )
    parser.add_argument(
        "--fold",
        action="store_true",
        help="fold batch norms into the linear layers and convolutions before them "
        "(default: keep them)",
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="INPUT",
        help="what the file is compared on, as for predict (default: test samples of "
        "the run, or random numbers if its data set is gone)",
    )
    add_trust(parser)
    return parser
