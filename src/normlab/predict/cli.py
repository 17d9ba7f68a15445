"""The command line of `predict`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from normlab.command_lines import (
    add_run,
    add_trust,
    load_trusted_code,
    mistakes_end,
)

# The options for arguments of functions that messages name.
OPTIONS = {"trusted": "--trust", "input": "INPUT", "out": "--out"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict new samples with a stored run.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = make_parser().parse_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        _predict(options)


def _predict(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from rich.console import Console

    from normlab.config.trust import guard_process
    from normlab.device.devices import scoring_device
    from normlab.predict.predictions import (
        Score,
        header,
        predicted_rows,
        print_rows,
        print_score,
        write_rows,
    )
    from normlab.predict.predictor import load_predictor
    from normlab.predict.sources import open_source
    from normlab.terminal import escaped

    guard_process()
    console = Console(highlight=False)
    with mistakes_end(OPTIONS):
        if options.out is not None and not options.out.parent.is_dir():
            raise ValueError(
                f"out must be a file in a folder that exists, got {options.out}"
            )
        trusted = load_trusted_code(options)
        predictor = load_predictor(options.run, trusted)
        source = open_source(options.input, predictor, options.unlabelled)
        predictor.task.to(scoring_device("auto"))
        score = Score()
        names = header(predictor, source)
        rows = predicted_rows(predictor, source, score)
        if options.out is None:
            print_rows(console, names, rows)
        else:
            write_rows(options.out, names, rows, predictor.is_double)
    if options.out is not None:
        place = escaped(options.out)
        text = f"[dim]{score.samples} predictions[/dim]  {place}"
        console.print(text, soft_wrap=True)
    print_score(console, score, bool(predictor.classes))


def make_parser() -> argparse.ArgumentParser:
    """The options of `predict`."""
    parser = argparse.ArgumentParser(
        description="Predict new samples with the best state of a stored run: classes "
        "by name with their probabilities, or values in the units of the target. The "
        "samples are prepared as in training; the data set of the run is not needed.",
        epilog="example: %(prog)s outputs/image_folder-resnet/RUN photos "
        "--out predictions.csv",
    )
    add_run(parser)
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="what to predict: a folder of images, an image, a CSV file with the "
        "columns of the run, or a .npy file of samples as the data set stores them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="CSV file to write, with the probabilities of all classes (default: print "
        "the first predictions)",
    )
    parser.add_argument(
        "--unlabelled",
        action="store_true",
        help="ignore the classes that folders are named after, or the column of the "
        "target (default: they must be the run's, and the predictions are scored)",
    )
    add_trust(parser)
    return parser
