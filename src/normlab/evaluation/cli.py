"""The command lines that look at a stored run again: `evaluate` and `inspect`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

USER_MISTAKE = 2  # exit code

# The options for arguments of `evaluate_run` and `inspect_run`.
OPTIONS = {
    "statistics": "--statistics",
    "num_batches": "--batches",
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

    from normlab.config.trust import load_only_weights
    from normlab.evaluation.evaluate import evaluate_run
    from normlab.terminal import print_metrics

    load_only_weights()
    title = options.run.name
    dataset = None
    try:
        if options.dataset is not None:
            title += f" on {options.dataset}"
            dataset = compose_dataset(options.dataset, options.overrides)
        metrics = evaluate_run(
            options.run, dataset, options.statistics, options.batches, options.trust
        )
    except ValueError as error:
        _exit_with(error)
    title += f", {options.statistics} statistics"
    print_metrics(Console(highlight=False), metrics, title)


def evaluate_parser() -> argparse.ArgumentParser:
    """The options of `evaluate`."""
    parser = argparse.ArgumentParser(
        description="Score the best state of a stored run again, on its own data or on "
        "another data set, and print the metrics of all parts.",
        epilog="example: %(prog)s outputs/digits-mlp/RUN --statistics recalibrated",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a finished run"
    )
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
        help="the statistics by which batch norm normalizes: running (as stored), "
        "batch (of the batch that is scored), recalibrated (computed again from "
        "training batches, with the final weights) or frozen (the stored ones as "
        "constants, which gives the same scores as running) (default: %(default)s)",
    )
    parser.add_argument(
        "--batches",
        type=int,
        default=100,
        metavar="K",
        help="number of training batches for recalibrated statistics, at most one "
        "epoch (default: %(default)s)",
    )
    _add_trust(parser)
    return parser


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

    from normlab.config.trust import load_only_weights
    from normlab.evaluation.inspection import draw_layers, inspect_run, layers_table
    from normlab.terminal import escaped

    load_only_weights()
    path = options.out or options.run / "norms.png"
    try:
        states = inspect_run(options.run, options.batches, options.trust)
        draw_layers(states, options.run.name).savefig(path, dpi=130, facecolor="white")
    except (ValueError, OSError) as error:
        _exit_with(error)

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
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a finished run"
    )
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
        help="figure to write (default: norms.png in the folder of the run)",
    )
    _add_trust(parser)
    return parser


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages of your own that the run may call (default: none)",
    )


def compose_dataset(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration of a data set as `train.py dataset=NAME` does.

    Args:
        name: name of a file of `conf/dataset`.
        overrides: settings as on the command line of `train.py`.

    Raises:
        ValueError: a name or a setting does not exist.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from normlab.config.identity import configuration_directory
    from normlab.mistakes import explain

    words = [f"dataset={name}", *overrides]
    try:
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            config = compose("config", overrides=words, return_hydra_config=True)
    except HydraException as error:
        raise ValueError(explain(error)) from error
    HydraConfig.instance().set_config(config)  # which some interpolations refer to
    dataset: Any = OmegaConf.to_container(config.dataset, resolve=True)
    return dataset


def with_option_names(message: str) -> str:
    """Replace an argument of Python at the head of a message by its option.

    `num_batches must be ...` becomes `--batches must be ...`.
    """
    names = "|".join(OPTIONS)
    return re.sub(rf"^({names})(?= must )", lambda match: OPTIONS[match[1]], message)


def _exit_with(error: Exception) -> NoReturn:
    from normlab.terminal import without_control

    message = without_control(with_option_names(str(error)))
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USER_MISTAKE)
