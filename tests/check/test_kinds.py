"""What a layer is compared with."""

import pytest
from torch import nn

from normlab.check.kinds import check_kind, kind_by_name, kind_of_title
from normlab.norms import GhostBatchNorm, torch_batch_norm


def named(name):
    return type(name, (nn.Module,), {})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MyBatchNorm1d", "batch"),
        ("BatchNormalization", "batch"),
        ("BN2d", "batch"),
        ("custom_batch_norm", "batch"),
        ("BatchNormFromScratch", "batch"),
        ("SimpleLayerNorm", "layer"),
        ("GroupNormLayer", "group"),
        ("InstanceNorm2d", "instance"),
        ("RMSNorm", "rms"),
    ],
)
def test_a_name_says_the_kind(name, kind):
    assert kind_by_name(named(name)).name == kind


@pytest.mark.parametrize("name", ["GhostBatchNorm", "Standardize", "Net", "LayerNorms"])
def test_other_names_say_nothing(name):
    assert kind_by_name(named(name)) is None


def test_functions_have_names_too():
    assert kind_by_name(torch_batch_norm).name == "batch"
    assert kind_by_name(GhostBatchNorm) is None


def test_a_kind_that_does_not_exist_is_refused():
    assert check_kind("rms").title == "root mean square norm"
    with pytest.raises(ValueError) as error:
        check_kind("bath")
    assert str(error.value) == (
        "like must be one of batch, layer, group, instance, rms, other, got 'bath'"
    )


def test_a_title_leads_back_to_the_name():
    assert kind_of_title("group norm") == "group"
    assert kind_of_title("") == "other"


def test_the_number_of_groups_is_that_of_the_layer():
    formula = check_kind("group").for_layer(nn.GroupNorm(3, 6)).formulas[0]
    assert formula.groups == 3
    assert check_kind("group").for_layer(nn.Identity()).formulas == ()
