"""Score a stored run again: `python scripts/evaluate.py outputs/digits-mlp/RUN [--statistics recalibrated]`."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    arguments = parser().parse_intermixed_args()
    from normlab.config.trust import load_only_weights
    from normlab.evaluation.evaluate import evaluate_run

    load_only_weights()
    try:
        dataset = (
            dataset_config(arguments.dataset, arguments.overrides)
            if arguments.dataset
            else None
        )
        metrics = evaluate_run(
            arguments.run,
            dataset,
            arguments.statistics,
            arguments.batches,
            arguments.trust,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from rich.console import Console

    from normlab.terminal import print_metrics

    where = f" on {arguments.dataset}" if arguments.dataset else ""
    print_metrics(
        Console(highlight=False),
        metrics,
        f"{arguments.run.name}{where}, {arguments.statistics} statistics",
    )


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--dataset",
        help="another data set of conf/dataset, normalized as the run's own",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        help="settings of that data set, such as dataset.root=data",
    )
    parser.add_argument(
        "--statistics",
        default="running",
        help="by which batch norm normalizes: running (stored), batch, recalibrated (anew, with the final weights), or "
        "frozen (the stored ones as constants, in evaluation the same as running)",
    )
    parser.add_argument(
        "--batches",
        type=int,
        default=100,
        metavar="K",
        help="training batches for recalibrated, default 100",
    )
    parser.add_argument(
        "--trust",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages of your own that it calls",
    )
    return parser


def dataset_config(name: str, overrides: list[str]) -> dict:
    """The configuration of another data set, as `train.py dataset=NAME` would compose it."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from normlab.config.identity import configuration_directory
    from normlab.mistakes import explain

    try:
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            config = compose(
                "config",
                overrides=[f"dataset={name}", *overrides],
                return_hydra_config=True,
            )
    except HydraException as error:
        raise ValueError(explain(error)) from error
    HydraConfig.instance().set_config(config)
    return OmegaConf.to_container(config.dataset, resolve=True)


if __name__ == "__main__":
    main()
