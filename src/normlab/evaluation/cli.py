"""The command lines that look at a stored run again: `evaluate` and `inspect`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normlab.command_lines import (
    add_run,
    add_trust,
    load_trusted_code,
    mistakes_end,
)
from normlab.figure_files import check_figure_path, save_figure

if TYPE_CHECKING:
    from rich.console import Console

    from normlab.evaluation.evaluate import Evaluation

# The options for arguments of `evaluate_run` and `inspect_run`.
OPTIONS = {
    "statistics": "--statistics",
    "num_batches": "--batches",
    "recalibrate_on": "--recalibrate-on",
    "batch_size": "--batch-size",
    "pseudo_count": "--pseudo-count",
    "lr": "--lr",
    "shift": "--shift",
    "parts": "--parts",
    "trusted": "--trust",
}


def evaluate_main(arguments: Sequence[str] | None = None) -> None:
    """Score a stored run again and print its metrics.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = evaluate_parser().parse_intermixed_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        _evaluate(options)


def _evaluate(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from rich.console import Console

    from normlab.config.trust import guard_process
    from normlab.evaluation.evaluate import evaluate_grid
    from normlab.evaluation.output import check_output, write_evaluations

    guard_process()
    title = options.run.name
    dataset = None
    with mistakes_end(OPTIONS):
        if options.out is not None:
            check_output(options.out)
        trusted = load_trusted_code(options)
        if options.dataset is not None:
            title += f" on {options.dataset}"
            dataset = compose_dataset(
                options.dataset, options.overrides, options.config_dir, trusted
            )
        elif options.overrides:
            raise ValueError(
                f"settings are for another data set, got {options.overrides[0]}: "
                f"add --dataset NAME"
            )
        evaluations = evaluate_grid(
            options.run,
            dataset,
            trusted,
            shifts=options.shift.split(","),
            statistics=options.statistics.split(","),
            parts=options.parts.split(","),
            calibration=True,
            num_batches=options.batches,
            recalibrate_on=options.recalibrate_on,
            batch_size=options.batch_size,
            pseudo_count=options.pseudo_count,
            lr=options.lr,
        )
        if options.out is not None:
            settings = {"run": options.run.resolve().name, "dataset": options.dataset}
            write_evaluations(options.out, evaluations, settings)
    _show(Console(highlight=False), evaluations, title)


def _show(console: "Console", evaluations: "list[Evaluation]", title: str) -> None:
    from normlab.data.shifts import NO_SHIFT
    from normlab.evaluation.output import print_evaluations
    from normlab.terminal import print_metrics

    if len(evaluations) > 1:
        print_evaluations(console, evaluations, title)
        return
    shift, statistics, metrics = evaluations[0]
    if shift != NO_SHIFT:
        title += f", {shift}"
    print_metrics(console, metrics, f"{title}, {statistics} statistics")


def evaluate_parser() -> argparse.ArgumentParser:
    """The options of `evaluate`."""
    parser = argparse.ArgumentParser(
        description="Score the best state of a stored run again, on its own data or on "
        "another data set, and print the metrics of its parts.",
        epilog="example: %(prog)s outputs/digits-mlp/RUN --shift none,contrast:5 "
        "--statistics running,batch,adapted --parts test --out scores.csv",
    )
    add_run(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="settings of the other data set, such as dataset.root=data "
        "(default: none)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="score another data set, a file of conf/dataset; its inputs are "
        "normalized as those of the run (default: the run's own data)",
    )
    parser.add_argument(
        "--statistics",
        default="running",
        metavar="NAME,...",
        help="the statistics by which norms normalize, one or several, separated by "
        "commas: running (as stored), "
        "batch (of the batch that is scored), recalibrated (computed again from "
        "training batches, with the final weights), adapted (computed again from the "
        "part that is scored), mixed (running and batch together), tent (of the batch, "
        "while scale and shift learn to lower the entropy) or frozen (the stored ones "
        "as constants, which gives the same scores as running) (default: %(default)s)",
    )
    parser.add_argument(
        "--shift",
        default="none",
        metavar="NAME:SEVERITY,...",
        help="corrupt the images that are scored, with a severity from 1 to 5, as in "
        "brightness:3; none leaves them as they are. Several shifts are separated by "
        "commas, and each is scored with all statistics (default: %(default)s)",
    )
    parser.add_argument(
        "--parts",
        default="train,val,test",
        metavar="PART,...",
        help="the parts that are scored (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="JSON or CSV file to write the metrics to (default: none)",
    )
    _add_details(parser)
    add_trust(parser)
    return parser


def _add_details(parser: argparse.ArgumentParser) -> None:
    """Add the options about single kinds of statistics."""
    parser.add_argument(
        "--batches",
        type=int,
        default=100,
        metavar="K",
        help="number of batches for recalibrated statistics, at most one epoch "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--recalibrate-on",
        default="train",
        metavar="PART",
        help="the part for recalibrated statistics: train, val or test of the run's "
        "own data, or scored/train, scored/val or scored/test of the data that are "
        "scored (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="B",
        help="samples per batch for batch, adapted, mixed and tent statistics "
        "(default: as in training)",
    )
    parser.add_argument(
        "--pseudo-count",
        type=float,
        default=16,
        metavar="N",
        help="weight of the running statistics in mixed statistics, as a number of "
        "samples (default: %(default)s)",
    )
    parser.add_argument(
        "--lr",
        type=float,
        default=1e-3,
        metavar="RATE",
        help="learning rate of Adam for tent statistics (default: %(default)s)",
    )


def inspect_main(arguments: Sequence[str] | None = None) -> None:
    """Print and draw what the norm layers of a stored run hold.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = inspect_parser().parse_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        _inspect(options)


def _inspect(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from rich.console import Console

    from normlab.config.trust import guard_process
    from normlab.evaluation.inspection import draw_layers, inspect_run, layers_table
    from normlab.terminal import escaped

    guard_process()
    path = options.out or options.run / "norms.png"
    with mistakes_end(OPTIONS):
        trusted = load_trusted_code(options)
        if options.out:
            check_figure_path(options.out)
        states = inspect_run(options.run, options.batches, trusted)
        figure = draw_layers(states, options.run.name)
        save_figure(figure, path, dpi=130, follow_links=options.out is not None)

    # In a file or a pipe the table gets the width that it needs.
    width = None if sys.stdout.isatty() else 200
    console = Console(highlight=False, width=width)
    console.print(layers_table(states))
    console.print(f"[dim]figure[/dim]  {escaped(path)}", soft_wrap=True)


def inspect_parser() -> argparse.ArgumentParser:
    """The options of `inspect`."""
    parser = argparse.ArgumentParser(
        description="Print and draw scale, shift, running statistics and batch "
        "statistics of every norm layer of a stored run, channel by channel.",
        epilog="example: %(prog)s outputs/digits-mlp/RUN --out norms.png",
    )
    add_run(parser)
    parser.add_argument(
        "--batches",
        type=int,
        default=50,
        metavar="K",
        help="number of training batches over which batch statistics are taken, at "
        "most one epoch (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file for the figure: .png, .svg or .pdf (default: norms.png in the "
        "folder of the run)",
    )
    add_trust(parser)
    return parser


def compose_dataset(
    name: str,
    overrides: Sequence[str],
    config_dir: Path | None = None,
    trusted: Sequence[str] = (),
) -> dict[str, Any]:
    """Compose the configuration of a data set as `train.py dataset=NAME` does.

    It is checked as for training: its file may come from somebody else.

    Args:
        name: name of a file of `conf/dataset`, or of the folder `dataset` of one's own.
        overrides: settings as on the command line of `train.py`.
        config_dir: a folder with the layout of conf/.
        trusted: packages of the user's own that the data set may call.

    Raises:
        ValueError: a name or a setting does not exist, or a value is impossible.
    """
    from normlab.config.composition import checked_config
    from normlab.config.rules import check
    from normlab.config.targets import check_homes
    from normlab.config.trust import check_trust
    from normlab.mistakes import MISTAKES, explain

    try:
        words = [f"dataset={name}", *overrides]
        config, _ = checked_config(words, config_dir)
        check_trust(config, words)
        config["trusted_packages"] = list(trusted)
        check(config)
    except MISTAKES as error:
        raise ValueError(explain(error)) from error
    dataset: dict[str, Any] = config["dataset"]
    check_homes({"dataset": dataset, "trusted_packages": list(trusted)})
    return dataset
