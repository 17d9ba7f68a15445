"""The files of conf/ and their comments are the schema of a configuration."""

import re

import pytest

from normlab.config.schema import (
    common_keys,
    general_keys,
    groups,
    has_option,
    options,
    read_option,
    undocumented,
)
from normlab.config.types import rule_of

ALL = [option for group in groups() for option in options(group).values()]


def test_every_key_of_the_configuration_is_explained():
    assert undocumented() == []


def test_groups_have_meaning_default_and_requirements():
    assert [*groups()][:3] == ["dataset", "model", "norm"]
    assert {"hydra/sweeper", "hydra/launcher", "hydra/sweeper/pruner"} <= set(groups())
    assert groups()["scheduler"].meaning == "how the learning rate changes"
    assert groups()["scheduler"].required == ("_target_", "interval")
    assert groups()["norm"].default == "custom"


@pytest.mark.parametrize("option", ALL, ids=lambda one: f"{one.group}={one.name}")
def test_every_default_is_of_its_type(option):
    for key in option.keys.values():
        if key.type and "${" not in key.default:
            default = read_default(key.default)
            assert key.rule.holds(default), f"{key.name}: {key.default}, {key.type}"


def read_default(source):
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(f"x: {source}"))["x"]


@pytest.mark.parametrize("name", general_keys())
def test_every_general_key_has_a_type(name):
    key = general_keys()[name]
    if key.type:
        assert key.type != "anything"
        assert "${" in key.default or key.rule.holds(read_default(key.default))


@pytest.mark.parametrize("option", ALL, ids=lambda one: f"{one.group}={one.name}")
def test_every_file_has_what_its_group_requires(option):
    required = groups()[option.group].required
    source = option.source
    for base in re.findall(r"\n  - (?!_self_)(\w+)\n", source):
        source += read_option(option.group, base).source
    if "@package _global_" not in option.source:
        assert all(f"\n{name}:" in source for name in required)


def test_types_come_from_comments_and_defaults():
    norm = options("norm")
    assert norm["custom"].keys["norm.momentum"].type == "null or number from 0 to 1"
    assert norm["custom"].keys["norm.affine"].type == "true or false"
    assert general_keys()["trainer.monitor"].type == "null or text"
    assert norm["weight_norm"].keys["reparametrize.skip_output"].default == "false"


def test_inherited_keys_are_those_of_the_other_file():
    keys = read_option("device", "ddp").keys
    assert keys["device.precision"].default == "32-true"
    assert keys["device.devices"].default == "2"
    assert keys["device.devices"].type == "whole number of at least 1"


def test_a_key_of_a_group_may_be_what_any_option_allows():
    rule = rule_of(common_keys("dataset")["dataset.num_classes"].type)
    assert [rule.holds(value) for value in (None, 3, "a")] == [True, True, False]


def test_options_of_another_folder_are_read_the_same_way(tmp_path):
    (tmp_path / "norm").mkdir()
    text = "# My norm.\n_target_: mine.Norm\nsize: 3 # (whole number of at least 1) s\n"
    (tmp_path / "norm" / "mine.yaml").write_text(text)
    (option,) = options("norm", tmp_path).values()
    assert (option.target, option.heading) == ("mine.Norm", ["My norm."])
    assert option.keys["norm.size"].type == "whole number of at least 1"
    assert not has_option("norm", "mine")
