import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from normlab.config.rules import check
from normlab.search.options import Options
from normlab.search.plan import plan_search

from .outcomes import OPTIONS


@pytest.fixture
def plan(compose, tmp_path):
    """plan(overrides, **options) -> the plan of a search in a temporary folder."""

    def compose_config(words):
        composed = compose(*words, f"paths.outputs={tmp_path}")
        config = OmegaConf.to_container(composed, resolve=True)
        check(config)
        return config

    def make(overrides, **options):
        parsed = OverridesParser.create().parse_overrides(overrides)
        return plan_search(Options(**OPTIONS | options), parsed, compose_config)

    return make


def test_a_plan_has_the_space_and_what_all_runs_share(plan, tmp_path):
    made = plan(["optimizer.lr=interval(0.1, 1)", "trainer.max_epochs=2", "group=g"])
    assert list(made.space) == ["optimizer.lr"]
    assert made.fixed == ["trainer.max_epochs=2", "group=g"]
    assert (made.metric, made.direction) == ("val/accuracy", "maximize")
    assert made.config["optimizer"]["lr"] == 0.1
    assert made.name == "search-custom-sgd"
    assert made.folder == tmp_path / "g" / "search-custom-sgd"
    assert made.definition["space"] == {"optimizer.lr": "interval(0.1, 1.0)"}
    assert made.definition["seeds"] == [0, 4]
    assert made.definition["settings"]["trainer.max_epochs"] == 2


@pytest.mark.parametrize(
    ("overrides", "options", "name"),
    [
        (["optimizer.lr=0.1,0.2", "norm=none"], {}, "search-none-sgd"),
        (["norm=none,custom"], {}, "search-sgd"),
        (["norm=none,custom", "optimizer=sgd,adam"], {}, "search"),
        (["norm=none,custom"], {"study_name": "mine"}, "mine"),
    ],
)
def test_a_search_is_named_by_what_does_not_vary(plan, overrides, options, name):
    made = plan(overrides, **options)
    assert made.name == name
    assert made.folder.name == name


def test_a_mistake_at_any_end_of_the_space_is_found(plan):
    with pytest.raises(ValueError, match="optimizer.lr must be a number above 0"):
        plan(["optimizer.lr=interval(-1, 1)"])
    with pytest.raises(ValueError, match="model.dropout must be"):
        plan(["model.dropout=interval(0, 3)"])


def test_rerun_is_refused(plan):
    with pytest.raises(ValueError) as caught:
        plan(["optimizer.lr=0.1,0.2", "rerun=true"])
    assert str(caught.value) == (
        "rerun=true would train interrupted trials from the start: "
        "name another hydra.sweeper.study_name"
    )


def test_the_metric_and_its_direction_are_options(plan):
    made = plan(["optimizer.lr=0.1,0.2"], metric="val/loss", direction="maximize")
    assert (made.metric, made.direction) == ("val/loss", "maximize")
    assert plan(["optimizer.lr=0.1,0.2"], metric="val/loss").direction == "minimize"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["search-custom-sgd"]),
        ({"storage": "sqlite"}, ["search-custom-sgd"]),
        ({"storage": "mysql://h/d"}, ["g/search-custom-sgd", "search-custom-sgd"]),
        ({"storage": "mysql://h/d", "study_name": "mine"}, ["mine"]),
    ],
)
def test_in_a_database_the_name_contains_the_group(plan, options, names):
    made = plan(["optimizer.lr=0.1,0.2", "group=g"], **options)
    assert made.stored_names == names
    assert made.folder.name == names[-1]
