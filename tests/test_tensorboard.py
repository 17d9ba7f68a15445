"""What TensorBoard shows of a sweep, in its event files and in a browser."""

import csv
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import pytest
from browser import chromium, needs_chromium
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from normlab.config.identity import run_folder
from normlab.loggers import TENSORBOARD_GROUP
from normlab.training.experiment import run

STATISTICS = {
    *("weight_mean", "weight_std", "bias_mean", "bias_std"),
    *("running_mean_mean", "running_var_mean", "batch_mean_mean", "batch_var_mean"),
    *("mean_drift", "var_drift", "dead_fraction", "gradient_norm"),
    *("activation_q15", "activation_q50", "activation_q85"),
}
HISTOGRAMS = ("weight", "bias", "running_mean", "running_var", "activation", "gradient")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, compose) -> dict:
    """Results of two norms at a rate that trains and one that diverges, by both."""
    outputs = tmp_path_factory.mktemp("outputs")
    results = {}
    for norm, lr in product(("none", "custom"), (0.1, 1e9)):
        words = (
            f"norm={norm}",
            f"optimizer.lr={lr}",
            "trainer.max_epochs=2",
            "progress=false",
            f"paths.outputs={outputs}",
        )
        config = OmegaConf.to_container(compose(*words), resolve=True)
        results[norm, lr] = run(config) | {"folder": run_folder(config)}
    return results


@pytest.fixture(scope="module")
def events(sweep) -> EventAccumulator:
    """The events of the run with batch norm that trains."""
    return EventAccumulator(
        str(sweep["custom", 0.1]["folder"]),
        size_guidance={"scalars": 0, "histograms": 0},
    ).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_the_hyperparameter_table_has_every_run(sweep):
    assert {key: result["status"] for key, result in sweep.items()}[
        "none", 1e9
    ] == "diverged"
    for (norm, lr), result in sweep.items():
        events = EventAccumulator(str(result["folder"])).Reload()
        start = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        settings = plugin_data_pb2.HParamsPluginData.FromString(
            start
        ).session_start_info.hparams
        assert (settings["norm"].string_value, settings["lr"].number_value) == (
            norm,
            lr,
        )
        assert settings["status"].string_value == result["status"]
        assert settings["changed"].string_value == "trainer.max_epochs=2"
        for name in ("test/accuracy", "test/loss", "val/accuracy", "train/accuracy"):
            ((_, value),) = scalars(events, f"{TENSORBOARD_GROUP}/{name}")
            expected = (
                result["metrics"][name] if result["status"] == "finished" else math.nan
            )
            assert value == pytest.approx(expected, nan_ok=True)


def test_scores_stand_between_the_curves_and_the_statistics(events):
    groups = {tag.partition("/")[0] for tag in events.Tags()["scalars"]}
    kinds = [group.partition(" ")[0] for group in sorted(groups)]
    assert list(dict.fromkeys(kinds)) == ["lr", "train", "val", "with", "within"]


def test_every_run_names_the_same_columns(sweep):
    """TensorBoard takes them from the first run that it meets."""
    columns = []
    for result in sweep.values():
        content = (
            EventAccumulator(str(result["folder"]))
            .Reload()
            .PluginTagToContent("hparams")
        )
        experiment = plugin_data_pb2.HParamsPluginData.FromString(
            content["_hparams_/experiment"]
        ).experiment
        columns.append([info.name.tag for info in experiment.metric_infos])
    assert columns[0][0] == f"{TENSORBOARD_GROUP}/test/accuracy"
    assert all(names == columns[0] for names in columns)


def test_statistics_are_those_of_the_csv_file(sweep, events):
    with open(sweep["custom", 0.1]["folder"] / "statistics.csv") as file:
        rows = list(csv.DictReader(file))
    by_layer: dict[str, set[str]] = {}
    for row in rows:
        by_layer.setdefault(row["layer"], set()).add(row["statistic"])
        tag = f"within {row['statistic']}/{row['layer']}"
        assert dict(scalars(events, tag))[int(row["epoch"])] == pytest.approx(
            float(row["value"])
        )
    norms = [layer for layer, found in by_layer.items() if found == STATISTICS]
    assert norms == ["hidden.0.norm", "hidden.1.norm"]
    rest = {layer: found for layer, found in by_layer.items() if layer not in norms}
    assert set().union(*rest.values()) == {"weights_gradient_norm"}  # by depth
    assert len(rest) == 3
    for layer in norms:
        for name in HISTOGRAMS:
            steps = [
                event.step for event in events.Histograms(f"within {layer}/{name}")
            ]
            assert steps == [1, 2]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """TensorBoard on a free port."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = [
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--port",
        str(port),
        "--load_fast=false",
    ]
    server = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(900):
            assert server.poll() is None, "TensorBoard ended"
            with (
                suppress(OSError),
                socket.create_connection(("localhost", port), timeout=1),
            ):
                break
            time.sleep(0.1)
        yield f"http://localhost:{port}"
    finally:
        server.terminate()
        server.wait(timeout=300)


ALL_TEXT = """
const texts = [];
(function visit(node) {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.data);
  if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return;
  if (node.shadowRoot) visit(node.shadowRoot);
  node.childNodes.forEach(visit);
})(document.body);
return texts.join("");
"""


def wait_for(browser, text: str) -> str:
    """The text of the page with all its components, once it holds `text`."""
    for _ in range(900):
        found = browser.execute_script(ALL_TEXT)
        if text in found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{text} does not appear on the page: {found[:500]}")


@needs_chromium
def test_curves_and_the_hyperparameter_table_in_a_browser(sweep, tmp_path):
    with (
        serving(sweep["custom", 0.1]["folder"].parent) as address,
        chromium(tmp_path) as browser,
    ):
        browser.get(f"{address}/?tagFilter=val/accuracy#timeseries")
        shown = wait_for(browser, "val/accuracy")
        assert all(result["folder"].name in shown for result in sweep.values())
        browser.get(f"{address}/#hparams")
        shown = wait_for(browser, f"{TENSORBOARD_GROUP}/test/accuracy")
        shown = wait_for(browser, "custom")  # the rows come after the header
        for (norm, _), result in sweep.items():
            assert norm in shown
            is_finished = result["status"] == "finished"
            score = result["metrics"]["test/accuracy"] if is_finished else math.nan
            assert (f"{score:.5g}" if score == score else "NaN") in shown
        assert [
            entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
        ] == []
