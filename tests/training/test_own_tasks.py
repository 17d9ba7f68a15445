"""Tasks of one's own: the example for several labels of the documentation."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from normlab.config.composition import compose_config, plain_config
from normlab.config.identity import digest, run_folder
from normlab.config.rules import check
from normlab.config.targets import check_homes
from normlab.data.parts import load_parts
from normlab.evaluation.evaluate import evaluate_run
from normlab.training.build import build_network, build_task
from normlab.training.classification import Classification
from normlab.training.experiment import run
from normlab.training.regression import Regression

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-task.md"


def shown(file):
    """The content of a file that the page shows."""
    pattern = rf"<!-- file: {file} -->\n```\w+\n(.*?)```"
    return re.search(pattern, PAGE.read_text(), re.DOTALL)[1]


@pytest.fixture
def multi_label(monkeypatch):
    """The module `multi_label.py` of the page, as a package that a run may call."""
    module = types.ModuleType("multi_label")
    code = compile(shown("multi_label.py"), "multi_label.py", "exec")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "multi_label", module)
    return module


@pytest.fixture
def config(tmp_path):
    """The settings of the page's command, with others."""
    folder = tmp_path / "my_conf"
    (folder / "dataset").mkdir(parents=True)
    file = folder / "dataset" / "rows_and_columns.yaml"
    file.write_text(shown("my_conf/dataset/rows_and_columns.yaml"))

    def make(*overrides):
        words = (
            "dataset=rows_and_columns",
            "task._target_=multi_label.MultiLabel",
            "trusted_packages=[multi_label]",
            "progress=false",
            f"paths.outputs={tmp_path}",
            *overrides,
        )
        return plain_config(compose_config(words, folder))

    return make


def test_scores_of_several_labels_are_those_counted_by_hand(multi_label):
    task = multi_label.MultiLabel(nn.Identity(), None, threshold=0.6)
    logits = torch.tensor([[2.0, -1.0], [0.2, 3.0], [-2.0, -2.0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    # Likelier than 0.6 are only 2.0 and 3.0: two hits, and two labels are missed.
    metrics = task.metrics_from(task.score(logits, targets).tolist())
    loss = functional.binary_cross_entropy(logits.sigmoid(), targets)
    assert metrics == pytest.approx(
        {
            "f1": 2 * 2 / (2 * 2 + 2),
            "loss": float(loss),
            "accuracy": (1 + 0.5 + 0.5) / 3,
        }
    )


def test_a_run_of_several_labels_is_trained_scored_and_evaluated(multi_label, config):
    settings = config("trainer.max_epochs=3", "+task.threshold=0.4")
    check(settings)
    result = run(settings)
    assert result["status"] == "finished"
    assert result["metrics"]["test/f1"] > 0.95
    names = {name.partition("/")[2] for name in result["metrics"]}
    assert {"f1", "loss", "accuracy"} <= names
    again = evaluate_run(run_folder(settings), trusted=["multi_label"])
    assert again["test/f1"] == pytest.approx(result["metrics"]["test/f1"])


def built(settings):
    check(settings)
    check_homes(settings)
    parts = load_parts(settings, 8)
    network, _ = build_network(settings, parts.input_shape, parts.num_outputs)
    targets = parts.train.targets[parts.train.rows]
    return build_task(settings, network, 5, targets, parts.num_outputs)


def test_the_class_gets_the_networks_outputs_and_its_own_arguments(multi_label, config):
    settings = config("+task.threshold=0.4", "trainer.gradient_clip=0.5")
    task = built(settings)
    assert type(task) is multi_label.MultiLabel
    assert (task.threshold, task.gradient_clip) == (0.4, 0.5)
    assert task.network.output.out_features == 2
    other = config("+task.threshold=0.5", "trainer.gradient_clip=0.5")
    assert digest(settings) != digest(other)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+task.treshold=0.1"], "MultiLabel cannot be built: .*'treshold'"),
        (["task.loss=mae"], "task.loss must be null for a task with a loss of its own"),
        (
            ["task._target_=null"],
            "have 2 numbers per sample, and a regression",
        ),
        (["task._target_=multi_label.Wrong"], "must not be a Classification for data"),
        (["task._target_=multi_label.Other"], "must be a class derived from normlab"),
        (
            ["task._target_=multi_label.Tensor"],
            "derived from pytorch_lightning.* named",
        ),
        (["trusted_packages=[]"], "is not in a trusted package"),
    ],
)
def test_what_would_not_work_is_refused(multi_label, config, overrides, message):
    multi_label.Wrong = type("Wrong", (Classification,), {})
    multi_label.Other = type("Other", (), {"__module__": "multi_label"})
    with pytest.raises(ValueError, match=message):
        built(config(*overrides))


def test_a_subclass_of_ours_takes_our_options(multi_label, config):
    multi_label.Scaled = type("Scaled", (Regression,), {})
    settings = config(
        "dataset=diabetes",
        "model=tabular",
        "task._target_=multi_label.Scaled",
        "task.loss=mae",
    )
    parts = load_parts(settings, None)
    targets = parts.train.targets[parts.train.rows]
    task = build_task(settings, nn.Linear(10, 1), 5, targets, 1)
    assert type(task) is multi_label.Scaled
    assert task.loss_function is functional.l1_loss
    assert task.target_mean == pytest.approx(float(targets.mean()))
