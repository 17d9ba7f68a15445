"""Hostile configurations are refused with exit code 2, and none of their code runs."""

import sys

import pytest

from security.hostile import FILES, FOR_SLURM, WORDS, command_line, make_trap

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    (tmp_path / "hostile_module.py").write_text(
        f"open({str(tmp_path / 'marker')!r}, 'w')\nx = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield make_trap(tmp_path)
    sys.modules.pop("hostile_module", None)


def assert_refused(trap, words):
    outputs = trap.folder / "outputs"
    code, errors = command_line([*words, f"paths.outputs={outputs}"])
    assert not trap.marker.exists(), errors
    assert code == 2, errors
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) <= 2
    assert not outputs.exists()


def write_experiment(trap, content):
    folder = trap.folder / "experiment"
    folder.mkdir()
    text = "# @package _global_\n" + trap.fill(content)
    (folder / "hostile.yaml").write_text(text)
    return ["--config-dir", str(trap.folder)]


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused(trap, name):
    assert_refused(trap, [*write_experiment(trap, FILES[name]), "experiment=hostile"])


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_a_dry_run(trap, name):
    words = write_experiment(trap, FILES[name])
    assert_refused(trap, [*words, "experiment=hostile", "dry_run=true"])


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_a_sweep(trap, name):
    words = write_experiment(trap, FILES[name])
    assert_refused(trap, [*words, "-m", "experiment=hostile,null"])


@pytest.mark.parametrize("name", FOR_SLURM)
@pytest.mark.parametrize("sweep", ["experiment=hostile", "experiment=null,hostile"])
def test_a_hostile_file_hands_nothing_to_the_jobs_of_slurm(trap, name, sweep):
    content = f"hydra: {{launcher: {{{FOR_SLURM[name]}}}}}"
    words = write_experiment(trap, content)
    words += ["-m", sweep, "hydra/launcher=submitit_slurm", "dry_run=true"]
    assert_refused(trap, words)


@pytest.mark.parametrize("name", WORDS)
def test_hostile_words_are_refused(trap, name):
    assert_refused(trap, [trap.fill(word) for word in WORDS[name]])
