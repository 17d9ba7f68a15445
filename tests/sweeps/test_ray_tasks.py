"""Sweeps by Ray, on clusters of one machine."""

import os
import signal
import socket
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.main import main
from normlab.signals import restored
from normlab.sweeps.ray_tasks import run_with_ray, start_ray
from normlab.training.checkpoint_files import load
from normlab.training.experiment import run

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 80_000_000  # the least that Ray takes for its objects
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec.*"),
    pytest.mark.skipif(
        find_spec("ray") is None, reason="Ray is not installed: 200 MB, pip install ray"
    ),
]


@pytest.fixture
def options():
    """The options of the shipped launcher."""
    path = ROOT / "conf" / "hydra" / "launcher" / "ray.yaml"
    return OmegaConf.to_container(OmegaConf.load(path))


@pytest.fixture
def free_port():
    """A port of this machine at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def waiting(compose, tmp_path, monkeypatch):
    """waiting(seed): a run that stops at its marker in the second epoch, and waits."""
    folder = str(ROOT / "tests" / "slurm")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    monkeypatch.chdir(tmp_path)

    def make(seed):
        words = [
            *("trainer.max_epochs=3", "progress=false", "device=cpu", f"seed={seed}"),
            *("trusted_packages=[waiting]", "model._target_=waiting.Waiting"),
            *(f"+model.marker={tmp_path}/{seed}", "checkpoint.every_n_steps=6"),
            *("checkpoint.every_seconds=0", f"paths.outputs={tmp_path / 'outputs'}"),
        ]
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def started(cluster, **options):
    """Add a raylet. Ray waits for it no longer than 30 s, so this tries several times.

    Ray gives no way to wait longer (2.60).
    """
    for _ in range(5):
        try:
            cluster.add_node(object_store_memory=MEMORY, **options)
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    pytest.fail("no raylet starts within 30 s")


@pytest.fixture
def cluster():
    """Two raylets with one core each, and a head that trains nothing."""
    from ray.cluster_utils import Cluster

    with restored():  # Ray installs a handler of its own, and leaves it
        cluster = Cluster()
        started(cluster, num_cpus=0, include_dashboard=False)
        for _ in range(2):
            started(cluster, num_cpus=1)
        yield cluster
        cluster.shutdown()


def lose_machine_of(marker):
    """Kill the task that has written this marker, and its raylet, when it has."""
    while not (marker.is_file() and len(marker.read_text().split()) == 2):
        time.sleep(0.1)
    task, raylet = map(int, marker.read_text().split())
    os.kill(raylet, signal.SIGKILL)
    os.kill(task, signal.SIGKILL)


def weights(folder):
    """The bytes of the last and of the best network of a run."""
    networks = [
        load(folder / "checkpoints" / name)["network"]
        for name in ("last.ckpt", "best.ckpt")
    ]
    return [
        {name: value.numpy().tobytes() for name, value in network.items()}
        for network in networks
    ]


@pytest.mark.slow
def test_runs_of_a_killed_raylet_go_on_elsewhere(waiting, options, cluster, tmp_path):
    configs = [waiting(0), waiting(1)]
    Path(configs[1]["model"]["marker"]).touch()  # this one does not wait
    marker = Path(configs[0]["model"]["marker"])
    killer = threading.Thread(target=lose_machine_of, args=(marker,))
    killer.start()
    init = options["init"] | {"address": cluster.address}
    remote = options["remote"] | {"max_retries": 2}
    ended = dict(run_with_ray(configs, init, remote))
    killer.join()
    for index, config in enumerate(configs):
        assert ended[index]["status"] == "finished"
        elsewhere = config | {"paths": {"outputs": str(tmp_path / "undisturbed")}}
        assert run(elsewhere)["metrics"] == ended[index]["metrics"]
        assert weights(run_folder(elsewhere)) == weights(run_folder(config))


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_none_answers_is_named(options, free_port, form):
    address = form.format(free_port)
    started = time.monotonic()
    with pytest.raises(ValueError, match=f"Ray does not answer at {address}: ") as end:
        start_ray(options["init"] | {"address": address})
    assert len(str(end.value).splitlines()) == 1
    assert time.monotonic() - started < 60  # Ray itself would try for minutes


def test_a_machine_without_a_ray_is_named(options):
    with pytest.raises(ValueError, match="Ray does not answer at auto: Could not find"):
        start_ray(options["init"] | {"address": "auto"})


def test_an_option_that_ray_does_not_have_is_named(options):
    with pytest.raises(ValueError, match="Ray does not start here: .*: nothing"):
        start_ray(options["init"] | {"nothing": 1})


def test_the_command_line_ends_with_one_line(monkeypatch, tmp_path, capsys, free_port):
    # The command line sets both of these; the fixture puts them back at the end.
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    words = ["-m", "hydra/launcher=ray", "seed=0,1"]
    words += [f"hydra.launcher.init.address=127.0.0.1:{free_port}"]
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *words])
    with pytest.raises(SystemExit) as end:
        main()
    HydraConfig.instance().cfg = None
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"error: Ray does not answer at 127.0.0.1:{free_port}: "
        f"[Errno 111] Connection refused"
    ]
