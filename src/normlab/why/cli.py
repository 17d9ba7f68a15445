"""The command `why`: pictures that explain what a norm does in stored runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from normlab.command_lines import add_trust, load_trusted_code, mistakes_end
from normlab.files import refuse_link

# The options for arguments of functions, which messages name.
OPTIONS = {
    "trusted": "--trust",
    "steps": "--steps",
    "points": "--points",
    "samples": "--samples",
    "grid": "--grid",
}
EPILOG = """example: %(prog)s outputs/digits-mlp/RUN outputs/digits-mlp/RUN --out why"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure stored runs and write pictures of why their norms help, or do not.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = parser().parse_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        _explain(options)


def parser() -> argparse.ArgumentParser:
    """The options of `why`."""
    parser = argparse.ArgumentParser(
        description="Draw what a norm does in stored runs: the landscape along the "
        "gradient, internal covariate shift, gradients by depth, the loss around the "
        "trained network, and running statistics. Each run is trained again in memory "
        "for some steps; its folder stays as it is.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folders of finished runs that are compared, such as one with norm=none "
        "and one with norm=torch",
    )
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for the page, the figures and the numbers (default: why, in the "
        "folder of a single run or beside several)",
    )
    _add_number(parser, "steps", 200, "steps of the second training")
    _add_number(parser, "points", 25, "steps at which is measured, evenly spaced")
    _add_number(parser, "samples", 512, "training samples of the loss surface")
    grid = "points along each side of the loss surface, an odd number"
    _add_number(parser, "grid", 21, grid)
    add_trust(parser)
    return parser


def _add_number(
    parser: argparse.ArgumentParser, name: str, default: int, text: str
) -> None:
    parser.add_argument(
        f"--{name}",
        type=int,
        default=default,
        metavar="K",
        help=f"{text} (default: %(default)s)",
    )


def default_folder(runs: Sequence[Path]) -> Path:
    """Where pictures go if no folder is named.

    Raises:
        ValueError: It is a link.
    """
    parent = runs[0]
    if len(runs) > 1:
        parent = runs[0].resolve().parent
    folder = parent / "why"
    refuse_link(folder)
    return folder


def _explain(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from normlab.config.trust import guard_process
    from normlab.terminal import print_line, without_control
    from normlab.why.explanation import explain_runs, write_explanation
    from normlab.why.measure import Settings

    guard_process()
    with mistakes_end(OPTIONS):
        settings = Settings(
            steps=options.steps,
            points=options.points,
            samples=options.samples,
            grid=options.grid,
        )
        folder = options.out or default_folder(options.runs)
        refuse_link(folder / "figures")
        trusted = load_trusted_code(options)
        explanation = explain_runs(options.runs, settings, trusted, print_line)
        path = write_explanation(explanation, folder, print_line)

    lines = [f"{item.drawing.title}: {item.here}" for item in explanation.pictures]
    lines += [f"missing: {note}" for note in explanation.notes]
    for line in [*lines, f"page: {path}"]:
        print(without_control(line))
