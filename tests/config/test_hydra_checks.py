"""What Hydra is given in place of its second composition."""

import sys
from pathlib import Path

import pytest
from hydra import main as hydra_main
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from normlab.config.hydra_checks import hydra_checked
from normlab.config.identity import configuration_directory

IN_EXPERIMENT = "# @package _global_\n"


@pytest.fixture
def composed(monkeypatch, tmp_path):
    """composed(*words): the job's configuration, and how often Hydra composed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    compose = Hydra.compose_config
    calls = []

    def counted(*arguments, **options):
        calls.append(options["run_mode"])
        return compose(*arguments, **options)

    def run(*words, checked=True):
        configs = []

        def job(config):
            hydra = OmegaConf.create({"hydra": HydraConfig.get()})
            both = OmegaConf.merge(hydra, config)
            configs.append(OmegaConf.to_container(both, resolve=False))

        calls.clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        monkeypatch.setattr(Hydra, "compose_config", counted)
        decorate = hydra_main(
            version_base="1.3",
            config_path=str(configuration_directory()),
            config_name="config",
        )
        if checked:
            with hydra_checked():
                decorate(job)()
        else:
            decorate(job)()
        return configs, len(calls)

    yield run
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["experiment=mlp_mnist", "norm=layer", "optimizer.lr=0.02", "seed=4"],
        ["hydra/job_logging=disabled", "hydra.job.name=mine", "+extra.key=[1]"],
        ["~model.hidden", "hydra.run.dir=elsewhere"],
        ["norm=mine", "--config-dir", "own"],
    ],
)
def test_one_composition_gives_what_two_of_hydra_give(composed, words):
    folder = Path("own/norm")
    folder.mkdir(parents=True)
    folder.joinpath("mine.yaml").write_text("_target_: normlab.norms.rms_norm\n")
    expected, by_hydra = composed(*words, checked=False)
    found, by_normlab = composed(*words)
    assert found == expected
    assert (by_hydra, by_normlab) == (2, 1)


def test_a_sweep_without_multirun_is_refused_as_by_hydra(composed):
    for words in (["seed=1,2"], ["seed=range(3)"]):
        with pytest.raises(ConfigCompositionException) as expected:
            composed(*words, checked=False)
        with pytest.raises(ConfigCompositionException) as found:
            composed(*words)
        assert str(found.value) == str(expected.value)
        assert "multirun" in str(found.value)


def test_a_missing_option_is_refused_as_by_hydra(composed):
    folder = Path("own/experiment")
    folder.mkdir(parents=True)
    lacks = IN_EXPERIMENT + "defaults:\n  - override /norm: ???\n"
    folder.joinpath("lacks.yaml").write_text(lacks)
    words = ["experiment=lacks", "--config-dir", "own"]
    with pytest.raises(ConfigCompositionException) as expected:
        composed(*words, checked=False)
    with pytest.raises(ConfigCompositionException) as found:
        composed(*words)
    assert str(found.value) == str(expected.value)


def test_the_mode_that_a_file_names_holds(composed):
    folder = Path("own/experiment")
    folder.mkdir(parents=True)
    sweeps = IN_EXPERIMENT + "hydra:\n  mode: MULTIRUN\n"
    folder.joinpath("sweeps.yaml").write_text(sweeps)
    words = ["experiment=sweeps", "seed=1,2", "dry_run=true", "--config-dir", "own"]
    _, by_hydra = composed(*words, checked=False)
    _, by_normlab = composed(*words)
    assert by_normlab == by_hydra


def test_a_mode_in_a_file_needs_no_word_of_the_command(composed):
    Path("own").mkdir()
    lines = "defaults: [config, _self_]\nhydra:\n  mode: RUN\n"
    Path("own/mine.yaml").write_text(lines)
    words = ["--config-name", "mine", "--config-dir", "own"]
    expected, _ = composed(*words, checked=False)
    found, _ = composed(*words)
    assert found == expected


@pytest.mark.parametrize("words", [["--info"], ["--info", "config"]])
def test_hydra_can_say_what_it_composes(composed, words):
    jobs, _ = composed(*words)
    assert jobs == []


def test_hydra_can_show_its_own_help(composed, capsys):
    with pytest.raises(SystemExit) as end:
        composed("--hydra-help")
    assert end.value.code == 0
    assert "hydra/launcher: basic" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["callbacks=[???]", "experiment=lacks"])
def test_a_missing_file_of_a_defaults_list_is_refused_as_by_hydra(composed, word):
    folder = Path("own/experiment")
    folder.mkdir(parents=True)
    folder.joinpath("lacks.yaml").write_text(IN_EXPERIMENT + "defaults:\n  - ???\n")
    words = [word, "--config-dir", "own"]
    with pytest.raises(ValueError, match="Missing ConfigDefault") as expected:
        composed(*words, checked=False)
    with pytest.raises(ValueError, match="Missing ConfigDefault") as found:
        composed(*words)
    assert str(found.value) == str(expected.value)
