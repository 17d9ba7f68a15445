import pytest
from omegaconf import OmegaConf

from normlab.config.identity import (
    configuration_directory,
    digest,
    run_folder,
    run_name,
)
from normlab.config.rules import check
from normlab.config.trust import check_hydra, check_targets, check_trust, targets_of


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed must be a whole number of at least 0, got -1"),
        ("seed=true", "seed must be a whole number of at least 0, got True"),
        (
            "dataset.batch_size=0",
            "dataset.batch_size must be a whole number of at least 1, got 0",
        ),
        ("optimizer.lr=-0.1", "optimizer.lr must be a number above 0, got -0.1"),
        ("optimizer.lr=fast", "optimizer.lr must be a number above 0, got 'fast'"),
        ("optimizer.lr=.nan", "optimizer.lr must be a number above 0"),
        (
            "dataset.validation=1.5",
            "dataset.validation must be a number between 0 and 1, got 1.5",
        ),
        (
            "dataset.task=clasification",
            "dataset.task must be one of classification, regression, got 'clasification'",
        ),
        (
            "trainer.max_epochs=2.5",
            "trainer.max_epochs must be a whole number of at least 1, got 2.5",
        ),
        (
            "device.threads=none",
            "device.threads must be auto or a whole number of at least 1, got 'none'",
        ),
        (
            "norm.momentum=abc",
            "norm.momentum must be null or a number from 0 to 1, got 'abc'",
        ),
        ("norm.eps=-1", "norm.eps must be null or a number of at least 0, got -1"),
        ("retry=always", "retry must be one of null, failed, got 'always'"),
        (
            "model._target_=os.system",
            "_target_ 'os.system' is not in a trusted package",
        ),
        (
            "optimizer._target_=torch.hub.load",
            "_target_ 'torch.hub.load' is not in a trusted package",
        ),
    ],
)
def test_impossible_values_are_refused_by_name(plain, override, message):
    with pytest.raises(ValueError) as error:
        check(plain(override))
    assert message in str(error.value)


def test_the_default_passes(plain):
    check(plain())


def test_targets_are_found_at_any_depth():
    config = {
        "a": {"_target_": "x.A", "b": [{"_target_": "y.B", "_partial_": True}]},
        "c": 1,
        "d": {"_target_": None},
    }
    assert targets_of(config) == ["x.A", "y.B"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "is not in a trusted package"),
        ("builtins.eval", "is not in a trusted package"),
        ("torch.load", "is not in a trusted package"),
        ("hydra.utils.get_method", "is not in a trusted package"),
        ("normlab.results.git_state", "is not in a trusted package"),
        ("normlab.main.requeue", "is not in a trusted package"),
        (
            "torchvision._internally_replaced_utils.load_state_dict_from_url",
            "is private to its package",
        ),
        ("torch.nn.Module._apply", "is private to its package"),
        (["os.system"], "is not in a trusted package"),
    ],
)
@pytest.mark.parametrize(
    "place",
    [lambda node: node, lambda node: {"hidden": [{"deeper": node}]}],
    ids=["here", "deep"],
)
def test_targets_that_nobody_trusts_are_refused_by_name(target, message, place):
    with pytest.raises(ValueError, match=message) as error:
        check_targets(place({"_target_": target, "_partial_": True}))
    assert str(target) in str(error.value)


@pytest.mark.parametrize(
    "package", ["os", "subprocess", "builtins", "importlib.util", "", ".", "a b"]
)
def test_nobody_owns_the_standard_library(package):
    with pytest.raises(ValueError, match=f"packages of your own, got '{package}'"):
        check_targets({}, trusted=[package])


def test_a_file_does_not_trust_itself():
    config = {"trusted_packages": ["mylab", "joblib"]}
    with pytest.raises(
        ValueError,
        match=r"command line, a file set it: add trusted_packages=\[mylab,joblib\]",
    ):
        check_trust(config, ["seed=1", "experiment=trusted_packages=mine"])
    check_trust(config, ["seed=1", "trusted_packages=[mylab,joblib]"])
    check_trust({"trusted_packages": []}, ["seed=1"])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"callbacks": {"x": {"_target_": "joblib.load"}}},
            "'joblib.load' in hydra must be in one of",
        ),
        (
            {"sweeper": {"params": [{"_target_": "${oc.env:HOME}"}]}},
            "in hydra must be in one of",
        ),
        (
            {"job_logging": {"handlers": {"x": {"()": "pandas.read_pickle"}}}},
            "factory 'pandas.read_pickle'",
        ),
        (
            {"hydra_logging": {"handlers": {"x": {"class": "evil.Handler"}}}},
            "factory 'evil.Handler'",
        ),
        (
            {"job": {"env_set": {"LD_PRELOAD": "x.so"}}},
            "env_set must be empty, got LD_PRELOAD",
        ),
    ],
)
def test_hydra_calls_nothing_for_a_file(node, message):
    with pytest.raises(ValueError, match=message):
        check_hydra(node)


def test_own_packages_can_be_trusted():
    check_targets({"_target_": "mylab.norms.Mine"}, trusted=["mylab"])
    with pytest.raises(ValueError, match=r"add trusted_packages=\[mylab\]"):
        check_targets({"_target_": "mylab.norms.Mine"})
    with pytest.raises(ValueError, match="'mylabel.Mine'"):
        check_targets({"_target_": "mylabel.Mine"}, trusted=["mylab"])
