import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from normlab.config.composition import (
    compose_config,
    normalized,
    plain_config,
    typed_config_dir,
)
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
