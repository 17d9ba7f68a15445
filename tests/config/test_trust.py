import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from normlab.config.identity import configuration_directory
from normlab.config.trust import (
    check_hydra,
    check_targets,
    check_trust,
    is_in,
    refuse_interpolations,
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


@pytest.fixture
def with_hydra(monkeypatch):
    """with_hydra(node): the composed default, with a node merged into `hydra`."""

    def compose_with(node):
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            words = ["hydra/launcher=ray"]
            config = compose("config", words, return_hydra_config=True)
        OmegaConf.set_readonly(config.hydra, False)
        OmegaConf.set_struct(config, False)
        config.hydra = OmegaConf.merge(config.hydra, OmegaConf.create(node))
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        return config

    return compose_with


def test_hydra_as_it_is_shipped_is_accepted(with_hydra):
    check_hydra(with_hydra({}))


DECODED = '${oc.decode:"{_target_:joblib.load,filename:x}"}'
CREATED = "${oc.create:{_target_:joblib.load,filename:x}}"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"callbacks": {"x": {"_target_": "joblib.load"}}}, "hydra.callbacks must be"),
        ({"callbacks": {"x": DECODED}}, "hydra.callbacks must be empty"),
        ({"callbacks": {"x": CREATED}}, "hydra.callbacks must be empty"),
        (
            {"sweeper": {"params": {"x": {"_target_": "joblib.load"}}}},
            "'joblib.load' in hydra.sweeper must be in one of",
        ),
        (
            {"sweeper": {"params": {"x": [CREATED]}}},
            "'joblib.load' in hydra.sweeper must be in one of",
        ),
        (
            {"launcher": {"init": {"x": DECODED}}},
            "'joblib.load' in hydra.launcher must be in one of",
        ),
        (
            {"launcher": {"init": {"x": "\\" + CREATED}}},
            r"hydra.launcher.init.x must not contain '\$\{'",
        ),
        (
            {"job_logging": {"handlers": {"x": {"()": "pandas.read_pickle"}}}},
            "hydra/job_logging must be one of none, disabled, stdout",
        ),
        (
            {"job_logging": {"handlers": {"x": {"class": "logging.FileHandler"}}}},
            "hydra/job_logging must be one of none, disabled, stdout",
        ),
        (
            {"hydra_logging": {"handlers": {"x": {"stream": "ext://module.x"}}}},
            "hydra/hydra_logging must be one of none, disabled, stdout",
        ),
        (
            {"hydra_logging": {"formatters": {"x": {"()": "logging.os.mkdir"}}}},
            "hydra/hydra_logging must be one of none, disabled, stdout",
        ),
        ({"job": {"env_set": {"LD_PRELOAD": "x.so"}}}, "hydra.job.env_set must be"),
        ({"output_subdir": "x"}, "hydra.output_subdir must be empty, got x"),
    ],
)
def test_hydra_calls_and_writes_nothing_for_a_file(with_hydra, node, message):
    with pytest.raises(ValueError, match=message):
        check_hydra(with_hydra(node))


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"a": "${b}"}, "a"),
        ({"a": [1, {"b": "x${oc.env:HOME}"}]}, r"a\[1\].b"),
        ({"${a}": 1}, "a text"),
    ],
)
def test_a_resolved_configuration_has_no_interpolations(config, place):
    with pytest.raises(ValueError, match=rf"^{place} must not contain '\$\{{'"):
        refuse_interpolations(config)
    refuse_interpolations({"a": ["$x", {"b": None}], "c": 1.0})


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
