import json

import pytest
import yaml
from omegaconf import OmegaConf

from normlab.config.identity import (
    canonical,
    configuration_directory,
    digest,
    is_digest_of,
    run_folder,
    run_name,
    stored_digests,
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
    ("dataset=image_folder", "dataset", "use_val"),
    ("dataset=csv", "dataset", "encoding"),
]


@pytest.mark.parametrize(("choice", "group", "key"), LATER)
def test_runs_from_before_a_setting_keep_their_names(plain, choice, group, key):
    config = plain(choice)
    name, value = run_name(config), config[group].pop(key)
    assert run_name(config) == name
    if group == "dataset":  # the function that loads the data has it too
        assert config[group]["load"].pop(key) == value
        assert run_name(config) == name
    config[group][key] = "eager" if key == "kernel" else not value
    assert run_name(config) != name


def test_a_setting_is_left_out_of_the_digest_for_its_data_set_alone(plain):
    config = plain("dataset=csv")
    name = run_name(config)
    config["dataset"]["use_val"] = False
    assert run_name(config) != name
    assert config["dataset"]["load"]["encoding"] is None  # left as it was


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("optimizer.lr=1", "optimizer.lr=1.0"),
        ("optimizer.lr=10", "optimizer.lr=1e1"),
        ("optimizer.momentum=0", "optimizer.momentum=0.0"),
        ("optimizer.momentum=0.0", "optimizer.momentum=-0.0"),
        ("optimizer.weight_decay=0", "optimizer.weight_decay=0.0"),
        ("model.dropout=0", "model.dropout=0.0"),
        ("trainer.gradient_clip=1", "trainer.gradient_clip=1.0"),
        ("checkpoint.every_seconds=10", "checkpoint.every_seconds=10.0"),
        ("norm.momentum=1", "norm.momentum=1.0"),
    ],
)
def test_one_number_has_one_name(plain, one, other):
    assert digest(plain(one)) == digest(plain(other))
    assert run_name(plain(one)) == run_name(plain(other))


def test_different_numbers_have_different_names(plain):
    assert digest(plain("optimizer.lr=1")) != digest(plain("optimizer.lr=1.5"))
    assert digest(plain("rerun=true")) == digest(plain())  # true is no number
    assert digest(plain("optimizer.nesterov=true")) != digest(plain())


@pytest.mark.parametrize("outputs", ["outputs", "./outputs", "/tmp/o", "a/b"])
def test_the_place_of_a_cache_is_not_part_of_the_name(plain, outputs):
    words = ["dataset=tiny_imagenet", "dataset.root=data"]
    moved = plain(*words, f"paths.outputs={outputs}")
    assert digest(moved) == digest(plain(*words))
    elsewhere = plain(*words, "dataset.load.cache=mine")
    assert digest(elsewhere) != digest(plain(*words))


def options(group):
    return sorted(
        path.stem for path in (configuration_directory() / group).glob("*.y*")
    )


@pytest.mark.parametrize(
    ("group", "option"),
    [
        (group, option)
        for group in ("dataset", "model", "norm", "optimizer", "scheduler", "device")
        for option in options(group)
    ],
)
def test_shipped_values_are_canonical(plain, group, option):
    config = plain(f"{group}={option}")
    found = canonical(config)
    original = with_keys_of(found, config)  # options that came later are left out
    assert json.dumps(found, sort_keys=True) == json.dumps(original, sort_keys=True)


def with_keys_of(like, value):
    if not isinstance(like, dict):
        return value
    return {key: with_keys_of(like[key], value[key]) for key in like}


def store(config, name):
    folder = run_folder(config).parent / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_run_that_an_earlier_version_named_is_found(plain, tmp_path):
    config = plain("optimizer.lr=1", f"paths.outputs={tmp_path}")
    old = "custom-sgd-lr1-seed0-0123456789"
    assert run_folder(config).name != old
    store(config | {"seed": 1}, "custom-sgd-lr1-seed0-aaaaaaaaaa")
    stored = store(config, old)
    same = plain("optimizer.lr=1.0", f"paths.outputs={tmp_path}")
    assert run_folder(config) == run_folder(same) == stored
    assert run_name(same) == f"digits-mlp/{old}"


def test_folders_that_this_process_has_named_are_not_read(plain, tmp_path, monkeypatch):
    first = plain("dataset.validation=0.2", f"paths.outputs={tmp_path}")
    store(first, run_folder(first).name)
    second = plain("dataset.validation=0.3", f"paths.outputs={tmp_path}")
    old = store(second, "custom-sgd-lr0.1-seed0-0123456789")
    read = []

    def note(folder):
        read.append(folder)
        return stored_digests(folder)

    monkeypatch.setattr("normlab.config.identity.stored_digests", note)
    assert run_folder(second) == old
    assert read == [old]


def test_the_digest_of_an_earlier_version_counts_in_its_own_folder(plain, tmp_path):
    config = plain("optimizer.lr=1", f"paths.outputs={tmp_path}")
    stored = store(config, "custom-sgd-lr1-seed0-0123456789")
    as_spelled = stored_digests(stored)[1]
    same = plain("optimizer.lr=1.0", f"paths.outputs={tmp_path}")
    assert as_spelled != digest(config) == digest(same)
    assert is_digest_of(digest(config), same, stored)
    assert is_digest_of(as_spelled, same, stored)
    assert not is_digest_of("0" * 64, same, stored)
    assert not is_digest_of(as_spelled, same | {"seed": 1}, stored)
    assert not is_digest_of(as_spelled, same, tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "a: [", "seed: 1", "choices: {}", "\x00"]
)
def test_a_folder_with_a_damaged_configuration_is_passed_over(plain, tmp_path, content):
    config = plain(f"paths.outputs={tmp_path}")
    before = run_folder(config)
    store(config, "custom-sgd-lr0.1-seed0-0123456789")
    damaged = before.parent / "custom-sgd-lr0.1-seed0-0123456789" / "config.yaml"
    damaged.write_text(content)
    assert run_folder(config) == before
