import pytest

from normlab.spelling import did_you_mean, nearest

KNOWN = ["momentum", "lr", "weight_decay"]


@pytest.mark.parametrize(
    ("name", "match"),
    [("momentom", "momentum"), ("weigth_decay", "weight_decay"), ("xyz", None)],
)
def test_the_nearest_name(name, match):
    assert nearest(name, KNOWN) == match


def test_names_need_not_be_strings():
    assert nearest(10, ["100", "7"]) == "100"
    assert nearest(None, KNOWN) is None


def test_a_lower_cutoff_finds_more():
    assert nearest("tr", ["torch"]) is None
    assert nearest("tr", ["torch"], cutoff=0.5) == "torch"


def test_the_end_of_a_message():
    assert did_you_mean("momentom", KNOWN) == ", did you mean 'momentum'?"
    assert did_you_mean("xyz", KNOWN) == ""
