import pytest
from omegaconf import OmegaConf

from normlab.config import check, check_targets, configuration_directory, digest, run_folder, run_name, targets_of


@pytest.fixture
def plain(compose):
    return lambda *overrides: OmegaConf.to_container(compose(*overrides), resolve=True)


def test_the_checkout_is_where_the_configuration_lives():
    assert (configuration_directory() / "config.yaml").read_text().startswith("# One run on one page")


def test_a_run_name_is_readable_and_ends_with_the_digest(plain):
    config = plain("norm=none", "seed=3", "optimizer.lr=0.01")
    assert run_name(config) == f"digits-mlp/none-sgd-lr0.01-seed3-{digest(config)[:10]}"
    assert run_folder(config | {"paths": {"outputs": "somewhere"}}).as_posix() == f"somewhere/{run_name(config)}"


def test_the_order_of_overrides_does_not_matter(plain):
    assert digest(plain("seed=1", "norm=none")) == digest(plain("norm=none", "seed=1"))


@pytest.mark.parametrize("change", ["seed=1", "norm=torch", "optimizer.lr=0.2", "model.hidden=[64]", "device=cpu"])
def test_every_change_of_the_run_changes_the_folder(plain, change):
    assert run_name(plain()) != run_name(plain(change))


@pytest.mark.parametrize("change", ["rerun=true", "progress=false", "paths.outputs=elsewhere", "retry=failed"])
def test_what_does_not_change_the_result_does_not_change_the_folder(plain, change):
    assert run_name(plain()) == run_name(plain(change))


def test_long_names_stay_short_and_legal(plain):
    name = run_name(plain("group='a/b c" + "x" * 300 + "'"))
    assert len(name) < 200
    assert name.count("/") == 1
    assert " " not in name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed must be a whole number of at least 0, got -1"),
        ("seed=true", "seed must be a whole number of at least 0, got True"),
        ("dataset.batch_size=0", "dataset.batch_size must be a whole number of at least 1, got 0"),
        ("optimizer.lr=-0.1", "optimizer.lr must be a number above 0, got -0.1"),
        ("optimizer.lr=fast", "optimizer.lr must be a number above 0, got 'fast'"),
        ("optimizer.lr=.nan", "optimizer.lr must be a number above 0"),
        ("dataset.validation=1.5", "dataset.validation must be a number between 0 and 1, got 1.5"),
        ("trainer.max_epochs=2.5", "trainer.max_epochs must be a whole number of at least 1, got 2.5"),
        ("device.threads=none", "device.threads must be auto or a whole number of at least 1, got 'none'"),
        ("norm.momentum=abc", "norm.momentum must be null or a number from 0 to 1, got 'abc'"),
        ("norm.eps=-1", "norm.eps must be null or a number of at least 0, got -1"),
        ("retry=always", "retry must be one of null, failed, got 'always'"),
        ("model._target_=os.system", "_target_ 'os.system' is not in a trusted package"),
        ("optimizer._target_=torch.hub.load", "_target_ 'torch.hub.load' is not in a trusted package"),
    ],
)
def test_impossible_values_are_refused_by_name(plain, override, message):
    with pytest.raises(ValueError) as error:
        check(plain(override))
    assert message in str(error.value)


def test_the_default_passes(plain):
    check(plain())


def test_targets_are_found_at_any_depth():
    config = {"a": {"_target_": "x.A", "b": [{"_target_": "y.B"}]}, "c": 1}
    assert targets_of(config) == ["x.A", "y.B"]


def test_own_packages_can_be_trusted():
    check_targets({"_target_": "mylab.norms.Mine"}, trusted=["mylab"])
    with pytest.raises(ValueError, match=r"add trusted_packages=\[mylab\]"):
        check_targets({"_target_": "mylab.norms.Mine"})
    with pytest.raises(ValueError, match="'mylabel.Mine'"):
        check_targets({"_target_": "mylabel.Mine"}, trusted=["mylab"])
