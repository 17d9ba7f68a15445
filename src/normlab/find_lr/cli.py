"""The command `find-lr`: the learning-rate range test of any configuration."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normlab.command_lines import mistakes_end
from normlab.figure_files import check_figure_path, save_figure

# The options for arguments of `range_test`, which messages name.
OPTIONS = {"lowest": "--lowest", "highest": "--highest", "steps": "--steps"}

FIGURE = Path("find_lr.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a range test, print the suggested rate and write its figure.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = parser().parse_intermixed_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        _find(options)


def parser() -> argparse.ArgumentParser:
    """The options of `find-lr`."""
    parser = argparse.ArgumentParser(
        description="Train for some steps with a growing learning rate, print the rate "
        "at which the loss falls fastest, and draw the loss over the rate. Runs are "
        "neither read nor written.",
        epilog="example: %(prog)s model=lenet5 dataset=mnist norm=custom",
    )
    add = parser.add_argument
    add(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="settings as on the command line of training (default: none)",
    )
    add(
        "--lowest",
        type=float,
        default=1e-6,
        metavar="RATE",
        help="rate of the first step (default: %(default)s)",
    )
    add(
        "--highest",
        type=float,
        default=10.0,
        metavar="RATE",
        help="rate of the last step, unless the loss diverges before (default: "
        "%(default)s)",
    )
    add(
        "--steps",
        type=int,
        default=100,
        metavar="K",
        help="number of optimizer steps (default: %(default)s)",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"file for the figure: .png, .svg or .pdf (default: {FIGURE})",
    )
    add(
        "--config-dir",
        type=Path,
        metavar="FOLDER",
        help="a folder of your own with the layout of conf/ (default: none)",
    )
    return parser


def _find(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from normlab.config.trust import guard_process
    from normlab.find_lr.figure import draw_range_test
    from normlab.find_lr.range_test import range_test
    from normlab.terminal import print_line

    guard_process()
    path = options.out or FIGURE
    with mistakes_end(OPTIONS):
        check_figure_path(path)
        config = _configuration(options.overrides, options.config_dir)
        test = range_test(config, options.lowest, options.highest, options.steps)
        figure = draw_range_test(test, _title(config))
        save_figure(figure, path, dpi=150, follow_links=options.out is not None)

    suggestion = "none: the loss falls nowhere; try other rates or more steps"
    if test.suggestion is not None:
        suggestion = f"optimizer.lr={test.suggestion:.2g}"
    end = f"does not diverge up to {test.rates[-1]:.2g}"
    if test.has_diverged:
        end = f"diverges at {test.rates[-1]:.2g}"
    print_line(f"suggestion  {suggestion}")
    print_line(f"loss        is lowest at {test.lowest:.2g}, and {end}")
    print_line(f"figure      {path}")


def _configuration(words: Sequence[str], config_dir: Path | None) -> dict[str, Any]:
    """The configuration that the same words of `train` would run."""
    from normlab.config.composition import checked_config, normalized
    from normlab.config.own_code import find_own_code
    from normlab.config.rules import check_composed
    from normlab.own_norms import take_own_norms

    words = take_own_norms(normalized(words))
    config, composed = checked_config(words, config_dir)
    check_composed(config, words, composed)
    find_own_code(config["trusted_packages"], [config_dir] if config_dir else [])
    return config


def _title(config: dict[str, Any]) -> str:
    choices = config["choices"]
    names = [choices[group] for group in ("model", "norm", "dataset", "optimizer")]
    return " · ".join(names)
