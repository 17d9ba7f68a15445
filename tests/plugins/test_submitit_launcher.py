"""The launchers with the options of hydra-submitit-launcher."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hydra_plugins.normlab_submitit_launcher import SlurmLauncher, SubmititLauncher
from normlab.sweeps import clusters, slurm_sweep, slurm_table
from normlab.sweeps.jobs import Job

ROOT = Path(__file__).resolve().parents[2]


def test_options_go_to_submitit_as_plain_values(monkeypatch):
    calls = []

    def run_with_submitit(*arguments):
        calls.append(arguments)
        yield 0, {"status": "finished"}

    monkeypatch.setattr(clusters, "run_with_submitit", run_with_submitit)
    launcher = SubmititLauncher(
        submitit_folder="outputs/.submitit/%j",
        max_num_timeout=3,
        name="normlab",
        setup=OmegaConf.create(["module load cuda"]),
    )
    results = list(launcher.train([{"seed": 1}]))
    assert results == [(0, {"status": "finished"})]
    parameters = {"name": "normlab", "setup": ["module load cuda"]}
    assert calls == [([{"seed": 1}], "outputs/.submitit/%j", 3, parameters)]
    assert type(calls[0][3]["setup"]) is list


class FakeSweep:
    """A sweep of which `running` jobs train."""

    running = 0

    def __init__(self, configs, options):
        self.configs = configs
        self.options = options

    def results(self):
        for index, config in enumerate(self.configs):
            FakeSweep.running = index
            yield index, {"seed": config["seed"]}


@pytest.fixture
def launcher(monkeypatch):
    """The launcher with the options of conf/, some of them changed."""
    monkeypatch.setattr(slurm_sweep, "SlurmSweep", FakeSweep)
    path = ROOT / "conf" / "hydra" / "launcher" / "submitit_slurm.yaml"
    changes = {
        "folder": "outputs/.slurm",
        "setup": ["module load cuda"],
        "partition": "gpu",
        "workers": 3,
    }
    options = OmegaConf.merge(OmegaConf.load(path), changes)
    del options["_target_"]
    made = SlurmLauncher(**options)
    made.setup(hydra_context=None, task_function=None, config=None)
    return made


def test_options_of_slurm_are_checked_and_plain(launcher):
    options = launcher.options
    assert options.folder == Path("outputs/.slurm")
    assert (options.workers, options.wait, options.max_num_timeout) == (3, True, 3)
    assert options.setup == ["module load cuda"]
    assert type(options.setup) is list
    assert options.resources == {"cpus_per_task": 1, "partition": "gpu"}


def test_an_option_that_no_job_can_have_is_refused_first():
    launcher = SlurmLauncher("outputs/.slurm", workers=0)
    with pytest.raises(ValueError, match="hydra.launcher.workers must be"):
        launcher.setup(hydra_context=None, task_function=None, config=None)


def test_results_come_from_the_sweep_and_running_jobs_are_counted(launcher):
    assert launcher.count_running() == 1
    counted = []
    for index, result in launcher.train([{"seed": seed} for seed in (5, 6, 7)]):
        counted.append((index, result["seed"], launcher.count_running()))
    assert counted == [(0, 5, 1), (1, 6, 1), (2, 7, 2)]


def test_states_are_printed_for_the_jobs_of_a_command(launcher, monkeypatch):
    calls = []
    monkeypatch.setattr(slurm_table, "print_table", lambda *words: calls.append(words))
    launcher.print_states([Job(("seed=1",), {"seed": 1})])
    assert calls == [(Path("outputs/.slurm"), [{"seed": 1}])]
