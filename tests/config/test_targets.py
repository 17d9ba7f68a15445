import pytest
import torch

from normlab.config.targets import build, check_homes


def config(*targets, trusted=()):
    nodes = [{"_target_": target} for target in targets]
    return {"trusted_packages": list(trusted), "model": nodes}


def test_what_a_trusted_package_defines_is_accepted():
    check_homes(config("torch.nn.Linear", "normlab.norms.BatchNorm"))


def test_the_callback_of_a_search_is_the_only_trusted_part_of_it():
    check_homes(config("normlab.search.pruning.ReportToTrial"))
    with pytest.raises(ValueError, match="not in a trusted package"):
        check_homes(config("normlab.search.pruning.find_trial"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("normlab.data.images.Path", "is pathlib.*Path, which is not in a trusted"),
        ("normlab.data.downloads.shutil.rmtree", "which is not in a trusted package"),
        ("torch.nn.NoSuchLayer", "cannot be found"),
        ("torch.nn.no_such_module.Layer", "cannot be found"),
    ],
)
def test_what_only_passes_through_is_refused_by_its_home(target, message):
    with pytest.raises(ValueError, match=message):
        check_homes(config(target))


def test_build_passes_arguments_on_and_lists_as_lists():
    layer = build({"_target_": "torch.nn.Unflatten", "dim": 1}, unflattened_size=[2, 3])
    assert layer(torch.zeros(4, 6)).shape == (4, 2, 3)
    made = build({"_target_": "torch.nn.Linear", "in_features": 3}, out_features=2)
    assert made.weight.shape == (2, 3)
