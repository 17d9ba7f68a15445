from omegaconf import OmegaConf

from hydra_plugins.normlab_submitit_launcher import SubmititLauncher
from normlab.sweeps import clusters


def test_options_go_to_submitit_as_plain_values(monkeypatch):
    calls = []

    def run_with_submitit(*arguments):
        calls.append(arguments)
        yield 0, {"status": "finished"}

    monkeypatch.setattr(clusters, "run_with_submitit", run_with_submitit)
    launcher = SubmititLauncher(
        cluster="local",
        submitit_folder="outputs/.submitit/%j",
        max_num_timeout=3,
        name="normlab",
        setup=OmegaConf.create(["module load cuda"]),
    )
    results = list(launcher.train([{"seed": 1}]))
    assert results == [(0, {"status": "finished"})]
    parameters = {"name": "normlab", "setup": ["module load cuda"]}
    assert calls == [([{"seed": 1}], "local", "outputs/.submitit/%j", 3, parameters)]
    assert type(calls[0][4]["setup"]) is list
