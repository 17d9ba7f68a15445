import pytest
from omegaconf import OmegaConf

from normlab.config.identity import (
    configuration_directory,
    digest,
    run_folder,
    run_name,
)


@pytest.fixture
def plain(compose):
    return lambda *overrides: OmegaConf.to_container(compose(*overrides), resolve=True)


def test_the_checkout_is_where_the_configuration_lives():
    assert (
        (configuration_directory() / "config.yaml")
        .read_text()
        .startswith("# One run on one page")
    )


def test_a_run_name_is_readable_and_ends_with_the_digest(plain):
    config = plain("norm=none", "seed=3", "optimizer.lr=0.01")
    assert run_name(config) == f"digits-mlp/none-sgd-lr0.01-seed3-{digest(config)[:10]}"
    assert (
        run_folder(config | {"paths": {"outputs": "somewhere"}}).as_posix()
        == f"somewhere/{run_name(config)}"
    )


def test_the_order_of_overrides_does_not_matter(plain):
    assert digest(plain("seed=1", "norm=none")) == digest(plain("norm=none", "seed=1"))


@pytest.mark.parametrize(
    "change",
    ["seed=1", "norm=torch", "optimizer.lr=0.2", "model.hidden=[64]", "device=cpu"],
)
def test_every_change_of_the_run_changes_the_folder(plain, change):
    assert run_name(plain()) != run_name(plain(change))


LATER = [
    ("device=auto", "device", "channels_last"),
    ("norm=custom", "norm", "bias"),
    ("norm=torch", "norm", "bias"),
    *(
        ("norm=noisy_batch", "norm", key)
        for key in ("bias", "track_running_stats", "sync", "kernel")
    ),
]


@pytest.mark.parametrize(("choice", "group", "key"), LATER)
def test_runs_from_before_a_setting_keep_their_names(plain, choice, group, key):
    config = plain(choice)
    name, value = run_name(config), config[group].pop(key)
    assert run_name(config) == name
    config[group][key] = "eager" if key == "kernel" else not value
    assert run_name(config) != name


def test_a_setting_that_a_norm_had_from_the_start_is_part_of_the_name(plain):
    config = plain("norm=custom")
    name = run_name(config)
    del config["norm"]["sync"]
    assert run_name(config) != name


@pytest.mark.parametrize(
    "change",
    ["rerun=true", "progress=false", "paths.outputs=elsewhere", "retry=failed"],
)
def test_what_does_not_change_the_result_does_not_change_the_folder(plain, change):
    assert run_name(plain()) == run_name(plain(change))


@pytest.mark.parametrize(
    "group",
    [
        "a/b c" + "x" * 300,
        "ж" * 300,
        "..",
        "../..",
        "/etc",
        "",
        ".lock",
        "\U00020000" * 99,
    ],
)
def test_names_stay_short_legal_and_within_the_outputs(plain, tmp_path, group):
    config = plain() | {
        "group": group,
        "paths": {"outputs": str(tmp_path)},
        "seed": 10**90,
    }
    name = run_name(config)
    assert len(name.encode()) < 200
    assert run_folder(config).parent.parent == tmp_path
    assert all(
        part and len(part.encode()) < 100 and part[0] != "." for part in name.split("/")
    )
    assert " " not in name
    run_folder(config).resolve().relative_to(tmp_path)
    run_folder(config).mkdir(parents=True)


def test_optimizers_without_a_rate_get_a_name(plain):
    config = plain()
    del config["optimizer"]["lr"]
    assert run_name(config) == f"digits-mlp/custom-sgd-seed0-{digest(config)[:10]}"
