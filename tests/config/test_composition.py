import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from normlab.config.composition import (
    checked_config,
    compose_config,
    composed_sweep,
    normalized,
    plain_config,
    typed_config_dir,
)
from normlab.config.hydra_node import config_dirs
from normlab.config.identity import configuration_directory


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("+study=a", ["study=a"]),
        ("+experiment=a", ["experiment=a"]),
        ("+studyx=a", ["+studyx=a"]),
        ("study.try=true", ["++study.try=true"]),
        ("+study.try=true", ["++study.try=true"]),
        ("study.try=false", []),
        ("-m", ["-m"]),
        ("optimizer.lr=0.1", ["optimizer.lr=0.1"]),
    ],
)
def test_words_are_written_as_hydra_wants_them(word, expected):
    assert normalized([word]) == expected


def test_a_configuration_is_composed_as_by_the_command(compose):
    config = plain_config(compose_config(["norm=none", "seed=3"]))
    assert config == compose("norm=none", "seed=3")
    assert config["choices"]["norm"] == "none"


def test_options_of_a_folder_of_ones_own_are_found(tmp_path):
    folder = tmp_path / "it's mine, [a] = 1"
    (folder / "norm").mkdir(parents=True)
    (folder / "norm" / "mine.yaml").write_text("_target_: mine.Norm\n")
    config = plain_config(compose_config(["norm=mine"], folder))
    assert config["norm"] == {"_target_": "mine.Norm"}
    with pytest.raises(ValueError, match=f"must be a folder .*{tmp_path}/nowhere"):
        compose_config([], tmp_path / "nowhere")


FORGED = "hydra: {overrides: {task: ['trusted_packages=[evil]']}}"
HOSTILE = {
    FORGED: "hydra.overrides.task must be left to Hydra",
    "hydra: {job: {env_copy: [HOME]}}\ngroup: ${hydra:job.env_set.HOME}": (
        "hydra.job.env_set must be empty"
    ),
    "hydra: {callbacks: {x: {_target_: os.system}}}": "hydra.callbacks must be empty",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_no_file_may_ask_of_hydra_is_refused(tmp_path, text):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "hostile.yaml"
    file.write_text(f"# @package _global_\n{text}\n")
    words = ["experiment=hostile"]
    with pytest.raises(ValueError, match=HOSTILE[text]):
        checked_config(words, tmp_path)
    with (
        pytest.raises(ValueError, match=HOSTILE[text]),
        composed_sweep(words, tmp_path),
    ):
        pass


def test_variables_are_read_if_the_words_name_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "here")
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\ngroup: ${oc.env:PLACE}\n")
    words = ["experiment=mine"]
    with pytest.raises(OmegaConfBaseException, match="PLACE must be named on the comm"):
        checked_config(words, tmp_path)
    words.append("paths.outputs=${oc.env:PLACE}")
    config, composed = checked_config(words, tmp_path)
    assert (config["group"], config["paths"]) == ("here", {"outputs": "here"})
    assert composed.hydra.job.chdir is False


def composed_by_a_sweep(words, folder):
    with composed_sweep(words, folder) as (_, config):
        return config


COMPOSERS = [compose_config, checked_config, composed_by_a_sweep]


@pytest.mark.parametrize("compose", COMPOSERS)
def test_a_defaults_list_reads_variables_if_the_words_name_them(
    tmp_path, monkeypatch, compose
):
    monkeypatch.setenv("PLACE", "in_the_dark")
    (tmp_path / "experiment").mkdir()
    lines = [
        "# @package _global_",
        "defaults:",
        "  - optional /leak: ${oc.env:PLACE}",
        "group: ${hydra:runtime.choices.leak}",
    ]
    (tmp_path / "experiment" / "mine.yaml").write_text("\n".join(lines))
    words = ["experiment=mine"]
    with pytest.raises(HydraException, match="resolving interpolation") as error:
        compose(words, tmp_path)
    assert "in_the_dark" not in str(error.value)
    words.append("paths.outputs=${oc.env:PLACE}")
    compose(words, tmp_path)
    config, _ = checked_config(words, tmp_path)
    assert config["group"] == "in_the_dark"


@pytest.mark.parametrize("compose", COMPOSERS)
def test_a_variable_for_hydra_that_is_not_set_is_a_mistake(
    tmp_path, monkeypatch, compose
):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra: {job: {env_copy: [MY_TOKEN]}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match="a file names 'MY_TOKEN' there"):
        compose(["experiment=mine"], tmp_path)
    with pytest.raises(ValueError, match="the command line names 'MY_TOKEN' there"):
        compose(["hydra.job.env_copy=[MY_TOKEN]"], tmp_path)


def test_the_folder_of_a_call_is_known_in_runs_and_sweeps(tmp_path):
    _, composed = checked_config([], tmp_path)
    assert config_dirs(composed.hydra) == [tmp_path]
    composed = composed_by_a_sweep(["seed=1,2"], tmp_path)
    assert config_dirs(composed.hydra) == [tmp_path]
    assert config_dirs(compose_config([]).hydra) == []


def test_a_launcher_of_ones_own_has_its_setup_if_it_is_picked(tmp_path):
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    lines = ["defaults:", "  - submitit_slurm", "  - _self_", "setup: [date]"]
    file = tmp_path / "hydra" / "launcher" / "lab.yaml"
    file.write_text("\n".join(lines))
    composed = composed_by_a_sweep(["hydra/launcher=lab"], tmp_path)
    assert list(composed.hydra.launcher.setup) == ["date"]
    assert composed.hydra.launcher.timeout_min == 60

    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra: {launcher: {setup: [touch x]}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    for name in ("lab", "submitit_slurm"):
        words = [f"hydra/launcher={name}", "experiment=mine"]
        with pytest.raises(ValueError, match="launcher.setup must be given on the"):
            composed_by_a_sweep(words, tmp_path)
    composed_by_a_sweep([*words, "hydra.launcher.setup=[date]"], tmp_path)


@pytest.mark.parametrize("scheme", ["file", "pkg"])
def test_launchers_inherit_from_each_other_in_folders_and_packages(
    tmp_path, monkeypatch, scheme
):
    folder = tmp_path / "company_a" / "conf" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    for package in ("company_a", "company_a/conf"):
        (tmp_path / package / "__init__.py").write_text("")
    lab = "defaults: [submitit_slurm, _self_]\nsetup: [date]\n"
    (folder / "lab.yaml").write_text(lab)
    (folder / "gpu.yaml").write_text("defaults: [lab, _self_]\ngpus_per_node: 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    place = f"file://{tmp_path}/company_a/conf"
    if scheme == "pkg":
        place = "pkg://company_a.conf"
    words = [f"hydra.searchpath=[{place}]", "hydra/launcher=gpu"]
    composed = composed_by_a_sweep(words, None)
    assert list(composed.hydra.launcher.setup) == ["date"]
    assert composed.hydra.launcher.gpus_per_node == 1


def test_composing_leaves_a_running_hydra_as_it_was():
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        compose_config([])
        assert GlobalHydra.instance().hydra is before


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["--config-dir", "a", "seed=1"], "a"),
        (["seed=1", "--config-dir=a/b"], "a/b"),
        (["-cd", "a"], "a"),
        (["seed=1", "--config-dir"], None),
    ],
)
def test_the_folder_is_read_from_the_command_line(words, folder):
    found = typed_config_dir(words)
    assert (found and found.as_posix()) == folder
