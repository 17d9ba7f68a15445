"""Runs, sweeps and norms from Python: the same runs as on the command line."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from torch import nn

import normlab
from normlab.api import calls
from normlab.api.results import Run
from normlab.api.words import sweep_words_of
from normlab.config.composition import composed_sweep
from normlab.config.own_code import VARIABLE
from normlab.config.trust import GUARDS
from normlab.endings import Interrupted, Stopped

ROOT = Path(__file__).resolve().parents[2]
SMALL = "dataset=digits model=mlp trainer.max_epochs=1 progress=false"


class Scale(nn.Module):
    """Multiplies every channel by a number that is learned."""

    def __init__(self, num_features, start=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_features,), start))

    def forward(self, x):
        return x * self.weight


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def stored(outputs):
    return normlab.run(SMALL, norm="torch", seed=1, paths={"outputs": str(outputs)})


def test_a_run_has_its_scores_its_curve_and_its_layers(stored):
    assert stored.status == "finished"
    assert stored.metrics == stored.result["metrics"]
    assert list(stored.history["epoch"]) == [1]
    assert stored.history["val/accuracy"][0] == pytest.approx(
        stored.metrics["val/accuracy"], abs=1e-6
    )
    assert {"hidden.0.norm", "hidden.1.norm"} <= set(stored.layers["layer"])
    assert repr(stored).startswith("<Run torch-sgd-lr0.1-seed1-")


def test_a_score_that_is_not_finite_is_shown_as_a_dash(stored):
    run = Run(stored.folder)
    run.result = stored.result | {"metrics": {"test/accuracy": 0.5, "test/loss": None}}
    assert repr(run).endswith(": finished, test/accuracy 0.5000, test/loss –>")
    assert "–" in run._repr_html_()


@pytest.mark.parametrize(
    ("name", "table"), [("metrics.csv", "history"), ("statistics.csv", "layers")]
)
def test_a_table_that_was_changed_is_refused_by_name(stored, tmp_path, name, table):
    folder = tmp_path / stored.folder.name
    shutil.copytree(stored.folder, folder)
    text = (folder / name).read_text()
    (folder / name).write_text(text[:-2] + ("1" if text[-2] == "2" else "2") + "\n")
    assert getattr(stored, table).equals(getattr(Run(stored.folder), table))
    with pytest.raises(ValueError, match=f"{name} was changed after the run ended"):
        getattr(Run(folder), table)


@pytest.mark.parametrize("shape", [(64,), (2, 64), (1, 8, 8), (2, 3, 8, 8)])
def test_samples_of_another_shape_are_not_predicted(stored, shape):
    message = r"inputs must be samples as stored, of shape \(N, 1, 8, 8\), got \("
    with pytest.raises(ValueError, match=message):
        stored.predict(torch.zeros(shape))


def test_predictions_are_those_that_were_scored(stored):
    part = stored.parts["test"]
    probabilities = stored.predict(part.inputs[part.rows])
    assert probabilities.shape == (len(part), 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(len(part)), atol=1e-5)
    right = probabilities.argmax(1) == part.targets[part.rows]
    assert right.float().mean() == pytest.approx(stored.metrics["test/accuracy"])
    assert stored.evaluate() == stored.metrics


def test_the_command_line_finds_the_run_of_a_call(stored, outputs):
    words = [*SMALL.split(), "norm=torch", "seed=1", f"paths.outputs={outputs}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-m", *words, "dry_run=true"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "done" in done.stdout
    assert str(stored.folder.name) in done.stdout


def test_a_class_of_a_script_trains_and_is_told_apart(outputs):
    settings = {"paths": {"outputs": str(outputs)}}
    first = normlab.run(SMALL, norm=Scale, **settings)
    other = normlab.run(SMALL, "+norm.start=0.5", norm=Scale, **settings)
    assert first.folder != other.folder
    assert first.config["choices"]["norm"] == "test_calls.Scale"
    assert isinstance(first.network.hidden[0].norm, Scale)


def test_a_sweep_is_compared(outputs):
    runs = normlab.sweep(
        SMALL, norm=["none", Scale], seed=range(2), paths={"outputs": str(outputs)}
    )
    assert [run.config["seed"] for run in runs] == [0, 1, 0, 1]
    assert list(runs.table["norm"]) == ["none"] * 2 + ["test_calls.Scale"] * 2
    assert list(runs.table)[:3] == ["norm", "seed", "status"]
    compared = runs.compare()
    (sentence,) = compared.sentences
    assert sentence.startswith("Cannot tell with 2 seeds whether test_calls.Scale")
    assert "arms" in compared.drawings
    assert runs.figure("curves").axes  # the short name of learning_curves
    with pytest.raises(ValueError, match="a figure must be one of arms, "):
        compared.figure("nothing")
    assert len(normlab.load(*[run.folder for run in runs[:2]])) == 2


@pytest.mark.slow
def test_workers_of_a_queue_know_the_class(outputs):
    runs = normlab.sweep(
        SMALL,
        norm=Scale,
        seed=[5, 6],
        launcher="queue",
        paths={"outputs": str(outputs)},
    )
    assert [run.status for run in runs] == ["finished", "finished"]


EVIL = "{tracking_uri: http://evil}"
URI = "logger.mlflow.tracking_uri"


@pytest.fixture
def composed_jobs(tmp_path):
    """composed_jobs(params, **settings): the jobs of a sweep by a file with axes."""

    def compose_jobs(params, *texts, **settings):
        (tmp_path / "experiment").mkdir()
        content = {"hydra": {"sweeper": {"params": params}}}
        text = f"# @package _global_\n{yaml.safe_dump(content, sort_keys=False)}"
        (tmp_path / "experiment" / "mine.yaml").write_text(text)
        outputs = {"outputs": str(tmp_path / "outputs")}
        words = sweep_words_of(
            ("experiment=mine", *texts), settings | {"paths": outputs}
        )
        with composed_sweep(words, tmp_path) as (loader, config):
            sweeper = calls._sweeper(loader, config)
            jobs, _ = sweeper._compose_jobs(list(config.hydra.overrides.task))
        return [job.config for job in jobs]

    return compose_jobs


@pytest.mark.parametrize("params", [{URI: "http://evil"}, {"logger.mlflow": EVIL}])
def test_a_file_does_not_replace_the_server_of_a_call(composed_jobs, params):
    server = {"mlflow": {"tracking_uri": "http://mine"}}
    (config,) = composed_jobs(params, "logger=[mlflow]", logger=server)
    assert config["logger"]["mlflow"]["tracking_uri"] == "http://mine"


def test_a_file_whose_server_would_replace_that_of_a_call_is_refused(composed_jobs):
    params = {URI: "http://first", "logger.mlflow": EVIL}
    server = {"mlflow": {"tracking_uri": "http://mine"}}
    with pytest.raises(ValueError, match="must be http://mine, as the command line"):
        composed_jobs(params, "logger=[mlflow]", logger=server)


@pytest.mark.parametrize("end", ["${hydra:runtime.choices.norm}", "${now:%S-%f}"])
def test_the_server_of_a_call_may_have_interpolations(end):
    words = ["norm=group", "logger=mlflow", f"{URI}='file:runs/{end}'"]
    config = calls._configuration(words, None)
    server = config["logger"]["mlflow"]["tracking_uri"]
    assert server == "file:runs/group" or "now" in end


def test_a_setting_of_a_call_replaces_the_axis_of_a_file(composed_jobs):
    configs = composed_jobs(
        {"optimizer.lr": "0.1,0.2", "seed": "0,1"}, optimizer={"lr": 0.5}
    )
    found = [(config["optimizer"]["lr"], config["seed"]) for config in configs]
    assert found == [(0.5, 0), (0.5, 1)]


def test_a_sweep_finds_packages_beside_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(VARIABLE, "")
    (tmp_path / "conf" / "norm").mkdir(parents=True)
    code = "from torch import nn\n\ndef make(size, rank):\n    return nn.Identity()\n"
    (tmp_path / "norms_beside_a_sweep.py").write_text(code)
    option = "_target_: norms_beside_a_sweep.make\n_partial_: true\n"
    (tmp_path / "conf" / "norm" / "beside.yaml").write_text(option)
    (run,) = normlab.sweep(
        f"{SMALL} norm=beside trusted_packages=[norms_beside_a_sweep]",
        config_dir=tmp_path / "conf",
        paths={"outputs": str(tmp_path / "outputs")},
    )
    assert run.status == "finished"


def test_mistakes_are_one_line_and_leave_nothing(tmp_path, monkeypatch):
    for name in GUARDS:
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match="did you mean") as caught:
        normlab.run("modle=mlp", paths={"outputs": str(tmp_path / "o")})
    assert "\n\n" not in str(caught.value)
    assert not (tmp_path / "o").exists()
    assert not GlobalHydra.instance().is_initialized()
    assert not os.environ.keys() & set(GUARDS)
    assert torch.get_num_threads() == threads
    assert normlab.run  # the next call is not refused


@pytest.mark.parametrize("call", [normlab.run, normlab.sweep])
def test_a_dry_run_is_refused(call, tmp_path):
    outputs = tmp_path / "outputs"
    message = "dry_run=true is for the command line; leave it out"
    with pytest.raises(ValueError, match=message):
        call(SMALL, dry_run=True, paths={"outputs": str(outputs)})
    assert not outputs.exists()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (Interrupted(signal.SIGINT), KeyboardInterrupt("stopped by SIGINT; the same")),
        (Stopped("stopped by SIGINT", 130), KeyboardInterrupt("stopped by SIGINT; ")),
        (Stopped("stopped by SIGTERM", 143), KeyboardInterrupt("stopped by SIGTERM;")),
        (Stopped("no space is left", 1), RuntimeError("no space is left; run the")),
    ],
)
def test_a_signal_is_a_keyboard_interrupt_however_the_runs_train(end, error):
    with pytest.raises(type(error), match=str(error)), calls._mistakes():
        raise end


def test_hydras_own_state_is_as_before(outputs, stored):
    before = HydraConfig.instance().cfg
    normlab.run(SMALL, norm="torch", seed=1, paths={"outputs": str(outputs)})
    assert HydraConfig.instance().cfg is before


def test_other_threads_and_nested_calls_are_refused():
    errors = []

    def call():
        try:
            normlab.run(SMALL)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert errors[0].startswith("runs train in the main thread only")
    with calls._one_call(), pytest.raises(RuntimeError, match="one call trains at"):
        normlab.run(SMALL)


def test_norms_of_any_network_are_swapped():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    (row,) = normlab.swap(network, "group", num_groups=4)
    assert (row.name, row.kind, row.old) == ("1", "replaced", "BatchNorm2d")
    assert network[1].num_groups == 4
    with torch.no_grad():
        network[1].weight.fill_(3.0)
    normlab.swap(network, Scale)
    assert isinstance(network[1], Scale)
    assert torch.equal(network[1].weight, torch.full((8,), 3.0))  # copied
    with pytest.raises(ValueError, match="did you mean 'group'"):
        normlab.swap(network, "groop")


def test_swaps_are_shown_as_a_table_with_equal_rows_once():
    layers = [nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)]
    swaps = normlab.swap(nn.Sequential(*layers), "instance")
    assert [swap.name for swap in swaps] == ["1", "2"]
    lines = repr(swaps).splitlines()
    (row,) = [line for line in lines if "BatchNorm2d" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:4] == ["1 to 2 (2)", "replaced", "BatchNorm2d", "InstanceNorm"]
    html = swaps._repr_html_()
    assert html.count(">BatchNorm2d<") == html.count(">1 to 2 (2)<") == 1


@pytest.mark.parametrize(
    ("network", "how", "message"),
    [
        (nn.Linear(2, 2), "auto", "offers no place for a norm with how=auto; take"),
        (nn.Sequential(nn.ReLU()), "insert", "with how=insert; set how=auto"),
        (nn.Linear(2, 2), "all", "how must be one of auto, replace, insert"),
    ],
)
def test_a_network_without_a_place_for_a_norm_is_refused(network, how, message):
    with pytest.raises(ValueError, match=message):
        normlab.swap(network, nn.BatchNorm1d, how)


def test_importing_the_package_imports_no_torch():
    program = "import sys, normlab; print('torch' in sys.modules, dir(normlab))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("False ")
    assert "'sweep'" in done.stdout
