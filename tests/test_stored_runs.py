"""Runs of an earlier version are still read, scored, compared and resumed.

They lie in `tests/stored_runs`.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from normlab.compare import compare, load_runs
from normlab.evaluation.evaluate import evaluate_run
from normlab.evaluation.inspection import inspect_run
from normlab.training.experiment import run

STORED = Path(__file__).parent / "stored_runs"
FINISHED = [
    "custom-sgd-lr0.1-seed0-c2b4372c5c",
    "custom-sgd-lr0.1-seed1-24a94c8268",
    "none-sgd-lr0.1-seed0-64b411328c",
    "none-sgd-lr0.1-seed1-5d6f206771",
]
INTERRUPTED = "custom-sgd-lr0.1-seed2-d778dfd8b4"
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def outputs(tmp_path):
    """A copy of the stored runs in the folder that their configurations name."""
    shutil.copytree(STORED, tmp_path / "stored")
    return tmp_path


def configuration(outputs, name):
    config = yaml.safe_load((outputs / "stored" / name / "config.yaml").read_text())
    return config | {"paths": {"outputs": str(outputs)}}


@pytest.mark.parametrize("name", FINISHED)
def test_a_stored_run_scores_as_it_did(name):
    result = json.loads((STORED / name / "result.json").read_text())
    assert evaluate_run(STORED / name) == pytest.approx(result["metrics"], rel=1e-5)


@pytest.mark.parametrize("name", FINISHED)
def test_the_stored_result_answers_its_configuration(outputs, name):
    before = (outputs / "stored" / name / "result.json").read_bytes()
    assert run(configuration(outputs, name)) == json.loads(before)
    assert (outputs / "stored" / name / "result.json").read_bytes() == before


def test_an_interrupted_run_is_resumed(outputs):
    result = run(configuration(outputs, INTERRUPTED))
    assert (result["run"], result["status"]) == (f"stored/{INTERRUPTED}", "finished")
    assert (result["epochs"], result["steps"]) == (2, 36)
    expected = {
        "val/loss": 0.364317,
        "val/accuracy": 0.874564,
        "test/loss": 0.372298,
        "test/accuracy": 0.886111,
    }
    found = {name: result["metrics"][name] for name in expected}
    assert found == pytest.approx(
        expected, abs=2e-3
    )  # another processor rounds otherwise
    rows = (outputs / "stored" / INTERRUPTED / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]


def test_stored_runs_are_compared():
    found = compare(load_runs(STORED), by="norm", baseline="none")
    means = found.summaries.set_index("arm")["mean"]
    accuracies = {
        name: json.loads((STORED / name / "result.json").read_text())["metrics"][
            "test/accuracy"
        ]
        for name in FINISHED
    }
    for arm in ("custom", "none"):
        values = [value for name, value in accuracies.items() if name.startswith(arm)]
        assert means[arm] == pytest.approx(sum(values) / 2)
    row = found.contrasts.set_index("arm").loc["custom"]
    assert (row["baseline"], row["design"], row["n"]) == ("none", "paired", 2)


def test_the_norm_of_a_stored_run_is_inspected():
    layers = inspect_run(STORED / FINISHED[0])
    assert len(layers) == 1
