"""What the product reads from stored files, as values that can be compared.

A reading takes the folder of all outputs, and returns values by a label. The label is
the name that the product must mention if the value is not what it was: a file, or the
name of a run.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Number
from pathlib import Path
from typing import Any

from runs import CLOCKS, EVENTS, at, curves_in_tensorboard, outcome

from normlab.config.identity import run_folder

Values = dict[str, Any]
Reading = Callable[[Path], Values]


@dataclass(frozen=True)
class Subject:
    """A stored file that is to be damaged, and those who read it.

    Attributes:
        outputs: the folder that is copied before every damage.
        file: the damaged file, relative to it.
        twin: the same file of another run or search, relative to it.
        readings: what is read afterwards, in this order.
    """

    outputs: Path
    file: str
    twin: str
    readings: Sequence[Reading]


@dataclass
class Answer:
    """What came of the readings.

    Attributes:
        values: by the name of the reading and the label.
        refused: messages of the user's mistakes and other foreseen ends.
        failed: the traceback of what nobody foresaw; empty if there is none.
        told: everything that was printed.
    """

    values: dict[str, Values] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failed: str = ""
    told: str = ""


def read_all(subject: Subject, outputs: Path) -> Answer:
    """Do all readings of a subject below a copy of its outputs."""
    from normlab.endings import EarlyEnd

    answer = Answer()
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        for reading in subject.readings:
            name = name_of(reading)
            try:
                answer.values[name] = reading(outputs)
            except (ValueError, EarlyEnd) as error:
                answer.refused[name] = str(error)
            except BaseException:
                answer.failed += traceback.format_exc()
    answer.told = printed.getvalue()
    return answer


def name_of(reading: Reading) -> str:
    return reading.func.__name__ if isinstance(reading, partial) else reading.__name__


def scores(run: str, outputs: Path) -> Values:
    """The metrics of a finished run, computed again."""
    from normlab.evaluation.evaluate import evaluate_run

    return {run: repr(evaluate_run(outputs / run))}


def predicted(run: str, outputs: Path) -> Values:
    """What the network of a finished run says of new samples."""
    import torch

    from normlab.predict.predictor import load_predictor

    predictor = load_predictor(outputs / run)
    samples = torch.linspace(0, 1, 3 * 64).reshape(3, 1, 8, 8)
    found = predictor.predict(samples)
    return {run: repr([predictor.classes, found.tolist()])}


def in_notebook(run: str, outputs: Path) -> Values:
    """What a notebook shows of a run."""
    from normlab.api.results import Run

    stored = Run(outputs / run)
    texts = [table.to_csv(index=False) for table in (stored.history, stored.layers)]
    return {run: repr([stored.status, sorted(stored.metrics.items()), *texts])}


def tables(outputs: Path) -> Values:
    """The rows of all runs, and their curves, as reports show them."""
    from normlab.compare import load_runs
    from normlab.compare.curves import curve_warnings, read_curves, read_layers
    from normlab.compare.settings import origin_warnings

    runs = load_runs(outputs)
    for folder, reason in runs.attrs["unreadable"]:
        print(f"{folder}: {reason}")
    for line in (*origin_warnings(runs), *curve_warnings(runs, ["val/accuracy"])):
        print(line)
    values = {}
    curves, layers = read_curves(runs, ["val/accuracy"]), read_layers(runs)
    for index, row in runs.iterrows():
        own = [table[table["index"] == index] for table in (curves, layers)]
        texts = [table.drop(columns="index").to_csv(index=False) for table in own]
        # A column of whole numbers is one of real numbers if another run lacks it.
        facts = {
            key: float(value) if isinstance(value, Number) else value
            for key, value in row.drop("folder").dropna().items()
        }
        texts += _predictions(Path(row["folder"]))
        values[Path(row["folder"]).name] = [repr(sorted(facts.items())), *texts]
    return values


def _predictions(folder: Path) -> list[list]:
    """The stored test predictions of a run; a message about a damaged file is told."""
    from normlab.compare.predictions import read_predictions

    try:
        found = read_predictions(folder)
    except ValueError as error:
        print(error)
        return []
    if found is None:
        print(f"{folder} has no predictions.npz")
        return []
    return [found.target.tolist(), found.predicted.tolist(), found.rows.tolist()]


def in_tensorboard(run: str, outputs: Path) -> Values:
    """The curves of a finished run; its own command names events that are not its."""
    return {EVENTS: curves_in_tensorboard(outputs / run)}


def stored_result(config: dict, outputs: Path) -> Values:
    """The result that answers a configuration whose run has ended."""
    from normlab.training.experiment import run

    result = run(at(config, outputs))
    assert result["status"] == "finished", result
    kept = {key: value for key, value in result.items() if key not in CLOCKS}
    return {"result.json": json.dumps(kept, sort_keys=True)}


def resumed(config: dict, outputs: Path) -> Values:
    """Everything of a killed run that was resumed to its end."""
    from normlab.training.experiment import run

    config = at(config, outputs)
    result = run(config)
    assert result["status"] == "finished", result
    folder = run_folder(config)
    values = {key: _plain(value) for key, value in outcome(folder).items()}
    return values | {
        name: (folder / name).read_text() for name in ("config.yaml", "inputs.json")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return value


def cached_images(config: dict, outputs: Path) -> Values:
    """The decoded images of a data set that has a cache."""
    from normlab.data.parts import load_parts

    inputs = load_parts(at_cache(config, outputs), None).train.inputs
    return {".cache": hashlib.sha256(inputs.numpy().tobytes()).hexdigest()}


def at_cache(config: dict, outputs: Path) -> dict:
    """The configuration with the cache below other outputs."""
    dataset = config["dataset"]
    load = dataset["load"] | {"cache": str(outputs / ".cache")}
    return at(config, outputs) | {"dataset": dataset | {"load": load}}


def searched(words: Sequence[str], outputs: Path) -> Values:
    """The table of a search that is complete, and its best trial."""
    from normlab.main import main

    sys.argv = ["train.py", *words, f"paths.outputs={outputs}"]
    os.chdir(outputs)
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    if code == 2:
        raise ValueError("exit code 2")
    assert code == 0, f"exit code {code}"
    (folder,) = [path.parent for path in outputs.glob("*/*/study.journal")]
    with open(folder / "trials.csv") as file:
        rows = [row | {"seconds": None} for row in csv.DictReader(file)]
    return {
        "study.journal": rows,
        "best.yaml": (folder / "best.yaml").read_text().replace(str(outputs), ""),
    }
