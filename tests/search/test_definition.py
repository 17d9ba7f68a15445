import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from normlab.search.definition import check_definition, define, differences

SPACE = {
    "optimizer.lr": FloatDistribution(0.001, 1.0, log=True),
    "norm": CategoricalDistribution(["none", "custom"]),
}
CONFIG = {
    "trainer": {"max_epochs": 2},
    "norm": {"eps": 1e-5},
    "seed": 0,
    "paths": {"outputs": "a"},
    "trial": None,
}


def definition(space=SPACE, **changes):
    return define(space, "val/accuracy", "maximize", [0, 1], CONFIG | changes)


def test_a_definition_is_plain_data():
    assert definition() == {
        "metric": "val/accuracy",
        "direction": "maximize",
        "seeds": [0, 1],
        "space": {
            "optimizer.lr": "tag(log, interval(0.001, 1.0))",
            "norm": "none,custom",
        },
        "settings": {"trainer.max_epochs": 2, "norm.eps": 1e-5},
    }


def test_fixed_settings_are_compared_last():
    base = definition()
    assert differences(base, definition()) == []
    assert (
        differences(
            base, definition(paths={"outputs": "b"}, seed=5, trial={"number": 3})
        )
        == []
    )
    assert differences(base, definition(trainer={"max_epochs": 5})) == [
        "trainer.max_epochs=2 then, 5 now"
    ]
    assert differences(base, base | {"seeds": [0]}) == ["seeds=[0, 1] then, [0] now"]
    fewer = {"optimizer.lr": SPACE["optimizer.lr"]}
    assert differences(base, definition(fewer, norm={"eps": 1.0})) == [
        "norm=none,custom then, nothing now"
    ]


def test_a_search_with_the_same_definition_is_resumed(tmp_path):
    check_definition(definition(), definition(seed=5), tmp_path)


def test_a_search_of_another_program_is_refused(tmp_path):
    with pytest.raises(ValueError, match="settings: another program started it"):
        check_definition(None, definition(), tmp_path)


def test_only_the_first_differences_are_shown(tmp_path):
    names = ("a", "b", "c", "d", "e")
    stored = definition(model=dict.fromkeys(names, 0))
    with pytest.raises(ValueError) as caught:
        check_definition(stored, definition(model=dict.fromkeys(names, 1)), tmp_path)
    assert (
        "model.a=0 then, 1 now; model.b=0 then, 1 now; model.c=0 then, 1 now and 2 more"
        in str(caught.value)
    )


def test_options_that_were_added_later_and_caches_elsewhere_are_no_difference():
    load = {"load": {"cache": "outputs/.cache"}}
    elsewhere = {"load": {"cache": "/mnt/outputs/.cache"}}
    earlier = definition(dataset=load)
    later = {"max_epochs": 2, "stop_at": None}
    now = definition(trainer=later, dataset=elsewhere, task={"mixup": None})
    assert differences(earlier, now) == []
    assert differences(now, earlier) == []
    stopped = definition(trainer=later | {"stop_at": "val/accuracy>0.9"}, dataset=load)
    assert differences(earlier, stopped) == [
        "trainer.stop_at=None then, val/accuracy>0.9 now"
    ]
