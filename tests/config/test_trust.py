import pytest

from normlab.config.trust import (
    check_targets,
    check_trust,
    is_in,
    placed_targets,
    refuse_interpolations,
    targets_of,
    typed_texts,
)


def test_targets_are_found_at_any_depth():
    config = {
        "a": {"_target_": "x.A", "b": [{"_target_": "y.B", "_partial_": True}]},
        "c": 1,
        "d": {"_target_": None},
    }
    assert list(targets_of(config)) == ["x.A", "y.B"]
    places = [place for place, _ in placed_targets(config)]
    assert places == ["a", "a.b[0]"]


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


def test_every_word_for_a_key_counts_as_typed():
    words = ["a.b=1", "++a.b=2,3", "+a.b=", "xa.b=4", "a.b", "~a.b=5"]
    assert typed_texts("a.b", words) == ["1", "2,3", ""]


def test_a_word_about_one_package_trusts_no_other():
    words = ["trusted_packages=[mylab.norms]", "model=mylab"]
    check_trust({"trusted_packages": ["mylab.norms"]}, words)
    for other in ("mylab", "norms", "evil"):
        with pytest.raises(ValueError, match=rf"add trusted_packages=\[{other}\]"):
            check_trust({"trusted_packages": [other]}, words)


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
