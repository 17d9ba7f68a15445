"""The plan of a study is checked before a run trains."""

import re
from pathlib import Path

import pytest
import yaml

from normlab.api.calls import _configuration
from normlab.config.rules import check
from normlab.config.study_plan import check_grid, check_plan, check_study

PLAN = {
    "question": "Does it?",
    "by": "norm",
    "metric": "test/accuracy",
    "baseline": "torch",
    "minimum_seeds": 10,
    "claims": [{"says": "It does.", "arms": ["custom"], "expect": "higher"}],
}


def configured(plan, name="demo"):
    return {"study": plan, "choices": {"study": name}}


def test_a_plan_may_use_all_that_a_verdict_reads():
    claim = {"says": "x", "expect": "equal", "select": "optimizer.lr"}
    claim |= {"tolerance": 0.01, "largest_stable": "optimizer.lr", "level": 0.1}
    plan = PLAN | {"margin": 0.1, "within": ["dataset"]}
    check_plan("demo", plan | {"claims": [claim]})
    check_plan("demo", plan | claimed(value=0.9, margin=0))
    check_plan("demo", plan | claimed(margin="3%", by=["norm", "lr"], arms=[0.1, True]))
    check_plan("demo", plan | claimed(margin=None, arms=None))
    check_study(configured(plan | {"try": True}))
    check_study(configured(None, None))
    check_study({"choices": {}})


def claimed(**claim):
    return {"claims": [{"says": "x", "expect": "higher"} | claim]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"minimum_seed": 3},
            r"study=demo has an unknown key 'minimum_seed', did you mean "
            r"'minimum_seeds'\?$",
        ),
        ({"target": 0.9}, "study=demo has an unknown key 'target'"),
        ({"question": ""}, "study=demo must state question in its study: block"),
        ({"claims": ["It does."]}, "study=demo: claims must be a list of claims"),
        (
            {"claims": [{"says": "x", "expect": "higher", "arm": [1]}]},
            r"study=demo has an unknown key 'arm', did you mean 'arms'\?",
        ),
        ({"claims": [{"says": "x", "expect": ["equal"]}]}, "equal, higher, lower"),
        ({"claims": [{"says": "x", "expect": "equal"}]}, "must state its margin"),
        (claimed(expect="not_worse"), "expects not_worse must state its margin"),
        (claimed(slope="lr", largest_stable="lr"), "largest_stable and slope exclude"),
        (claimed(interaction="lr"), "interaction must be a setting with two values"),
        (claimed(interaction={"lr": [1]}), "interaction must be a setting with two"),
        (claimed(scale="log2"), "scale must be one of linear, log2 and come with sl"),
        ({"metric": {"curve": "loss"}}, "study=demo: curve must name a part"),
        (claimed(metric={"curve": "val/loss", "ove": 1}), "unknown key 'ove'"),
        (
            claimed(metric={"curve": "val/loss"}, largest_stable="lr"),
            "largest_stable must judge by a metric of result.json, such as test/accur",
        ),
        (
            claimed(metric={"curve": "val/loss"}, select="lr", confirm_seeds="3,4"),
            "confirm_seeds must test a metric of result.json, such as test/accuracy",
        ),
        (
            claimed(metric={"curve": "val/loss", "ratio": True}, margin=0.5),
            "with ratio: true, the margin must be a ratio above 1, such as 2",
        ),
        (claimed(value="high"), "value must be a number, got high"),
        (
            claimed(value=1, expect="not_worse", margin=1),
            "must expect one of equal, hi",
        ),
        (claimed(value=0, margin="-3%"), "or a share such as 3%, got '-3%'$"),
        (claimed(margin=0), "margin must be a number above 0 or a share .*, got 0$"),
        ({"margin": "0,01"}, "margin must be a number above 0 .*, got '0,01'$"),
        (claimed(arms="custom"), "arms must be null or a list, got 'custom'$"),
        (claimed(arms=[]), r"arms must name an arm, or be left out .*; got \[\]$"),
        ({"by": 3}, "by must be text or a list of texts, got 3$"),
        ({"within": "dataset"}, "within must be a list of texts, got 'dataset'$"),
        ({"minimum_seeds": "10"}, "a whole number of at least 1, got '10'$"),
        (claimed(minimum_seeds=0), "minimum_seeds must be a whole number .*, got 0$"),
        ({"level": 5}, "level must be a number between 0 and 1, got 5$"),
        (claimed(level=None), "level must be a number between 0 and 1, got None$"),
        (claimed(tolerance="1%"), "tolerance must be a number of at least 0, got '1%'"),
        (
            claimed(select="lr", confirm_seeds=1.5),
            "confirm_seeds must be seeds such as 10,11,12 or .*, got 1.5$",
        ),
        (
            claimed(value=0, largest_stable="lr"),
            "value and largest_stable exclude each",
        ),
        (
            claimed(value=0, metric={"curve": "val/loss", "ratio": True}),
            "with ratio: true, the value must be above 0, got 0",
        ),
        (
            claimed(value=2, slope="lr", metric={"curve": "val/loss", "ratio": True}),
            "value, slope and ratio: true exclude each other",
        ),
        (claimed(ratio_to_target=2), "ratio_to_target must hold a metric and a target"),
        (
            claimed(ratio_to_target={"metric": "loss", "target": 1}),
            "must name a part",
        ),
        (
            claimed(ratio_to_target={"metric": "val/loss", "target": "last"}),
            "target must be a number, or final or best for the value of the baseline",
        ),
        (
            claimed(ratio_to_target={"metric": "val/loss", "target": 1, "clock": "s"}),
            "clock must be one of steps, epochs, seconds, got s",
        ),
        (
            claimed(ratio_to_target={"metric": "val/loss", "target": 1}, margin=1),
            "with ratio_to_target, the margin must be a ratio above 1",
        ),
        (
            claimed(ratio_to_target={"metric": "val/loss", "target": 1}, slope="lr"),
            "slope and ratio_to_target exclude each other",
        ),
        (
            claimed(at="lr"),
            "at must hold a setting and an arm, such as {largest_stable",
        ),
        (
            claimed(at={"largest_stable": "lr", "of": "none", "times": 0}),
            "times must be a number above 0, got 0",
        ),
        (
            claimed(at={"largest_stable": "lr", "of": "none"}, select="lr"),
            "at and select exclude each other",
        ),
        (claimed(slope="lr", scale="log"), "scale must be one of linear, log2 and c"),
        (
            claimed(slope="lr", select="model", confirm_seeds="range(3)"),
            "confirm_seeds must test the metric itself; leave slope out",
        ),
        (
            {"margin": 0.1, "claims": [{"says": "x", "expect": "equal", "margin": 0}]},
            "must state its margin",
        ),
    ],
)
def test_a_plan_without_an_answer_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_study(configured(PLAN | change))


def test_a_study_has_a_plan_and_a_plan_has_a_study():
    with pytest.raises(ValueError, match="study=demo must state question, by, metric"):
        check_study(configured(None))
    message = "^study.by, study.levl must come with a study: add study=NAME$"
    with pytest.raises(ValueError, match=message):
        check_study(configured({"by": "norm", "levl": 0.1}, None))


def test_a_wrong_plan_is_refused_before_training_but_stays_readable():
    words = ["study=small_batches", "dataset=digits"]
    config = _configuration(words, None)
    with pytest.raises(ValueError, match="unknown key 'levels', did you mean 'level'"):
        _configuration([*words, "+study.levels=0.1"], None)
    config["study"]["levels"] = 0.1
    check(config)  # as for a run that an earlier version has stored


def test_the_claims_that_the_page_about_studies_shows_are_complete():
    page = Path(__file__).parents[2] / "docs" / "how-to" / "study.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) >= 7
    for block in blocks:
        check_plan("the page", PLAN | yaml.safe_load(block)["study"])


@pytest.mark.parametrize("key", ["callbacks", "+callbacks", "logger"])
def test_a_grid_varies_only_what_tells_runs_apart(key):
    check_grid("demo", {"norm": "none,custom", "callbacks.mine.rate": "1,2"})
    with pytest.raises(ValueError, match="demo: the grid must not vary (callb|logger)"):
        check_grid("demo", {"norm": "none", key: "[],[mine]"})
