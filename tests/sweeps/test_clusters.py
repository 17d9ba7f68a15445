"""Sweeps through submitit's local processes and through Ray."""

import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from normlab.main import main
from normlab.sweeps import clusters, ray_tasks
from normlab.training.experiment import run

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed"
)
needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: 200 MB, pip install ray"
)


@pytest.fixture
def hazard(compose, tmp_path, monkeypatch):
    """hazard(number): a run that gets this signal once, in its second epoch.

    It then writes its marker, and gets no signal if its marker is there.
    """
    folder = str(ROOT / "tests" / "torture")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    monkeypatch.chdir(tmp_path)

    def make(number):
        words = [
            "trainer.max_epochs=3",
            "progress=false",
            "device=cpu",
            f"paths.outputs={tmp_path / 'outputs'}",
        ]
        words += [
            "trusted_packages=[hazards]",
            "model._target_=hazards.Signalled",
            f"+model.number={int(number)}",
        ]
        words += [
            f"+model.marker={tmp_path}/{number}",
            "checkpoint.every_n_steps=6",
            "checkpoint.every_seconds=0",
        ]
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def undisturbed(config, folder):
    """The same run in this process, without the signal."""
    Path(config["model"]["marker"]).touch()
    return run(config | {"paths": {"outputs": str(folder)}})


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """command(*words): run the command line; its exit code, output and errors."""

    def call(*words):
        # The command line sets both of these; the fixture puts them back at the end.
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *words])
        try:
            main()
        except SystemExit as end:
            return end.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    yield call
    HydraConfig.instance().cfg = None


@pytest.mark.slow
@needs_submitit
def test_a_local_sweep_by_submitit(hazard, command, tmp_path):
    config = hazard(signal.SIGUSR2)
    words = [
        f"{key}={value}"
        for key, value in config["model"].items()
        if key in ("_target_", "number", "marker")
    ]
    words = [f"{'+' if word[0] in 'nm' else ''}model.{word}" for word in words]
    words = [
        "-m",
        "hydra/launcher=submitit_local",
        *words,
        "trusted_packages=[hazards]",
        "trainer.max_epochs=3",
    ]
    words += [
        "dataset.batch_size=64,1",
        "device=cpu",
        f"paths.outputs={tmp_path / 'outputs'}",
    ]
    code, printed, errors = command(*words)
    assert code == 1, errors
    assert "2 runs: 1 finished, 1 failed" in printed
    assert (
        "failed  dataset.batch_size=1: model=mlp norm=custom cannot take batches of 1"
        in printed
    )
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 1
    (own,) = (tmp_path / "outputs" / ".submitit").iterdir()  # of this sweep
    assert any(file.name.endswith("_result.pkl") for file in own.rglob("*"))
    code, printed, _ = command(*words, "dataset.batch_size=64")
    assert (code, "1 run: 1 finished" in printed) == (0, True)


@pytest.mark.slow
@needs_ray
def test_a_sweep_by_ray_names_killed_jobs_and_is_resumed(hazard, tmp_path):
    configs = [hazard(signal.SIGKILL), hazard(signal.SIGTERM) | {"seed": 1}]
    options = OmegaConf.to_container(
        OmegaConf.load(ROOT / "conf" / "hydra" / "launcher" / "ray.yaml")
    )
    init = options["init"] | {"num_cpus": 2, "object_store_memory": 80_000_000}
    ended = dict(ray_tasks.run_with_ray(configs, init, options["remote"]))
    assert [ended[index]["status"] for index in range(2)] == ["failed", "failed"]
    assert all(
        ended[index]["reason"].startswith("WorkerCrashedError: ") for index in range(2)
    )
    assert not list(tmp_path.glob("outputs/*/*/result.json"))
    again = dict(ray_tasks.run_with_ray(configs, init, options["remote"]))
    for index, config in enumerate(configs):
        assert (
            again[index]["metrics"]
            == undisturbed(config, tmp_path / "undisturbed")["metrics"]
        )


@pytest.mark.parametrize(
    ("package", "launcher", "message"),
    [
        (
            "submitit",
            "submitit_local",
            "submitit_local needs the package submitit.*pip install submitit",
        ),
        (
            "ray",
            "ray",
            "hydra/launcher=ray needs the package ray, which is not installed: "
            "pip install ray$",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    command, monkeypatch, package, launcher, message
):
    monkeypatch.setattr(
        clusters, "find_spec", lambda name: None if name == package else find_spec(name)
    )
    code, _, errors = command("-m", f"hydra/launcher={launcher}", "seed=0,1")
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert re.search(message, errors)
