import pytest

from normlab.config.trust import (
    check_hydra,
    check_targets,
    check_trust,
    is_in,
    targets_of,
)


def test_targets_are_found_at_any_depth():
    config = {
        "a": {"_target_": "x.A", "b": [{"_target_": "y.B", "_partial_": True}]},
        "c": 1,
        "d": {"_target_": None},
    }
    assert list(targets_of(config)) == ["x.A", "y.B"]


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


@pytest.mark.parametrize(
    ("target", "inside"),
    [("a.b", True), ("a.b.C", True), ("a.bc", False), ("a", False)],
)
def test_a_package_holds_itself_and_what_is_below(target, inside):
    assert is_in(target, ["x", "a.b"]) is inside
