"""A plan that differs from the one that runs were started with is named."""

import copy

import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.config.stored_plan import plan_text
from normlab.study import changes
from normlab.study.definition import Study
from normlab.study.verdict import answer
from study.helpers import NOISE, plan

CONTENT = {
    "defaults": [{"override /model": "mlp"}],
    "group": "demo",
    "trainer": {"max_epochs": 5},
    "dataset": {"root": "here"},
    "study": plan(expect="higher"),
    "hydra": {"sweeper": {"params": {"norm": "torch,custom", "seed": "range(10)"}}},
}


def study(**changed):
    """The study with other values of dotted keys; `a.1.b` is in the first of a list."""
    content = copy.deepcopy(CONTENT)
    for key, value in changed.items():
        *path, name = key.split(".")
        node = content
        for part in path:
            node = node[int(part) - 1] if part.isdigit() else node[part]
        node[name] = value
    params = content["hydra"]["sweeper"]["params"]
    return Study("demo", content["study"], "demo", params, content=content)


def start(tmp_path, planned, seeds, gain=0.02):
    """Runs as the study starts them, with its whole plan."""
    stored = {
        "study": planned.plan,
        "choices.study": "demo",
        "plan": plan_text(planned.whole_plan),
    }
    for seed in seeds:
        noise = NOISE[seed % 10]
        write_run(tmp_path, "torch", seed, 0.95 + noise, settings=stored)
        write_run(tmp_path, "custom", seed, 0.95 + gain - noise, settings=stored)


def told(tmp_path, planned):
    whole, claims, warnings = answer(planned, load_runs(tmp_path))
    return whole, claims[0], warnings


def test_a_rule_is_written_before_runs_that_store_its_whole_plan(tmp_path):
    start(tmp_path, study(), range(10))
    whole, claim, warnings = told(tmp_path, study())
    assert (whole, claim.verdict, warnings) == ("supported", "supported", [])
    assert claim.rule_origin == "The rule, written before the runs"


def test_a_grid_that_grew_after_a_look_is_exploratory(tmp_path):
    start(tmp_path, study(), range(10))
    longer = study(**{"hydra.sweeper.params.seed": "range(16)"})
    start(tmp_path, longer, range(10, 16))
    whole, claim, warnings = told(tmp_path, longer)
    assert whole == claim.verdict == "supported (exploratory)"
    assert claim.rule_origin.startswith("The rule of a plan that was changed")
    assert warnings == [
        "The plan was changed after runs were started, and its verdict is exploratory: "
        "hydra.sweeper.params.seed was range(10) in 20 of 32 runs and is range(16)."
    ]


def test_a_grid_that_grew_and_was_put_back_is_exploratory(tmp_path):
    start(tmp_path, study(), range(10))
    start(tmp_path, study(**{"hydra.sweeper.params.seed": "range(12)"}), range(10, 12))
    whole, _, warnings = told(tmp_path, study())
    assert whole == "supported (exploratory)"
    assert "was range(12) in 4 of 24 runs and is range(10)" in warnings[1]
    assert "started by the study itself" not in warnings[0]


@pytest.mark.parametrize(
    ("key", "value", "change"),
    [
        ("study.minimum_seeds", 5, "study.minimum_seeds was 10 and is 5"),
        ("study.looks", [10], "study.looks was not there and is [10]"),
        ("study.claims.1.margin", 0.01, "study.claims.1.margin was not there and is"),
        ("study.claims.1.says", "No.", "study.claims.1.says was It does. and is No."),
        ("trainer.max_epochs", 9, "trainer.max_epochs was 5 and is 9"),
        ("hydra.sweeper.params.norm", "torch,custom,none", "sweeper.params.norm was"),
        ("defaults.1.override /model", "vgg", "defaults.1.override /model was mlp"),
    ],
)
def test_whatever_changed_is_named_with_both_values(tmp_path, key, value, change):
    start(tmp_path, study(), range(10))
    whole, claim, warnings = told(tmp_path, study(**{key: value}))
    assert whole in ("supported (exploratory)", "cannot tell")
    assert any(f"exploratory: {change}" in line for line in warnings) or any(
        change in line and "its verdict is exploratory" in line for line in warnings
    )
    assert claim.rule_origin.startswith("The rule of a plan that was changed")


@pytest.mark.parametrize(
    ("key", "value"),
    [("dataset.root", "there"), ("group", "other"), ("study.control", True)],
)
def test_what_changes_no_number_changes_no_plan(tmp_path, key, value):
    start(tmp_path, study(), range(10))
    whole, claim, warnings = told(tmp_path, study(**{key: value}))
    assert (whole, warnings) == ("supported", [])
    assert claim.rule_origin == "The rule, written before the runs"


def test_other_words_of_a_rule_are_told_and_are_no_change(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(changes_rules(), "higher", "supported if it is higher")
        start(tmp_path, study(), range(10))
    whole, claim, warnings = told(tmp_path, study())
    assert whole == "supported"
    assert claim.rule_origin == changes.REWORDED
    assert warnings == [
        "normlab judged `higher` by other words when 20 of 20 runs were started: "
        "supported if it is higher."
    ]


def changes_rules():
    from normlab.config.claim_rules import RULES

    return RULES


def test_runs_that_store_the_block_alone_say_so(tmp_path):
    stored = {"study": study().plan, "choices.study": "demo"}
    for seed in range(10):
        write_run(tmp_path, "torch", seed, 0.95 + NOISE[seed], settings=stored)
        write_run(tmp_path, "custom", seed, 0.97 - NOISE[seed], settings=stored)
    whole, claim, warnings = told(tmp_path, study())
    assert whole == "supported"
    assert claim.rule_origin == changes.IN_PART
    assert warnings == [
        "20 of 20 runs were started by a version that stored the study: block alone: "
        "whether grid or settings were changed since then is not known."
    ]
    whole, claim, warnings = told(tmp_path, study(**{"study.minimum_seeds": 9}))
    assert whole == "supported (exploratory)"
    assert "exploratory: study.minimum_seeds was 10 and is 9." in warnings[1]


def test_a_damaged_plan_is_another_plan(tmp_path):
    start(tmp_path, study(), range(10))
    write_run(
        tmp_path,
        "torch",
        0,
        0.95,
        settings={"choices.study": "demo", "plan": "[1]", "trainer.max_epochs": 5},
    )
    runs = load_runs(tmp_path)
    record = changes.plan_record(study(), runs)
    assert record.changed
    assert "was not there in 1 of 21 runs" in record.lines[0]
