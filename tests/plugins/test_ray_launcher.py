import pytest
from omegaconf import OmegaConf

from hydra_plugins.normlab_ray_launcher import RayLauncher
from normlab.sweeps import ray_tasks
from normlab.sweeps.ray_tasks import check_options

INIT = OmegaConf.create({"address": None})
CUDA = {"device": {"accelerator": "cuda"}}
CPU = {"device": {"accelerator": "cpu"}}


@pytest.fixture
def ray(monkeypatch):
    """Takes the place of Ray; yields its arguments."""

    def run_with_ray(configs, init, remote):
        yield configs, init, remote

    monkeypatch.setattr(ray_tasks, "run_with_ray", run_with_ray)


def test_options_that_conf_does_not_have_are_refused():
    check_options(["address", "num_cpus", "resources"], ["memory", "resources"])
    with pytest.raises(ValueError) as error:
        RayLauncher(OmegaConf.create({"runtime_env": {}}), OmegaConf.create({})).setup()
    assert str(error.value) == (
        "hydra.launcher.init.runtime_env must be left out: "
        "conf/hydra/launcher/ray.yaml has no such option"
    )
    with pytest.raises(ValueError, match="remote.num_cpu must .*mean 'num_cpus'"):
        check_options([], ["num_cpu"])


def test_gpus_that_no_task_gets_are_refused(ray):
    launcher = RayLauncher(INIT, OmegaConf.create({"num_gpus": 0}))
    with pytest.raises(ValueError) as error:
        launcher.train([CPU, CUDA])
    assert str(error.value) == (
        "hydra.launcher.remote.num_gpus must be at least 1 for device=cuda, got 0"
    )
    assert list(launcher.train([CPU])) == [([CPU], {"address": None}, {"num_gpus": 0})]


def test_jobs_on_gpus_go_to_tasks_that_have_one(ray):
    launcher = RayLauncher(INIT, OmegaConf.create({"num_gpus": 0.5}))
    assert list(launcher.train([CUDA])) == [
        ([CUDA], {"address": None}, {"num_gpus": 0.5})
    ]
