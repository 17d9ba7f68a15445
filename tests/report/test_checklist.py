"""The checklist of a reviewer: yes, no, and not recorded."""

import pytest
from compare.helpers import ENVIRONMENT, write_run, write_seeds

from normlab.compare import compare, load_results, load_runs
from normlab.report.checklist import checklist

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92, 0.95, 0.91, 0.92, 0.94]
BETTER = [value + 0.01 for value in NONE]


@pytest.fixture
def folder(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": BETTER})
    return tmp_path


def answers(comparison, **options):
    return {
        item.question: (item.answer, item.detail)
        for item in checklist(comparison, **options)
    }


def test_the_checklist_answers_yes_no_and_not_recorded(folder):
    found = answers(compare(load_runs(folder)))
    assert found["At least 10 runs per arm"] == (
        "yes",
        "the smallest arm has 10 results",
    )
    assert found["Runs that did not finish are counted"] == ("yes", "all runs finished")
    assert found["A margin was stated"][0] == "no"
    assert found["All code was committed"][0] == "yes"
    assert found["One version of the code"][0] == "yes"
    alike = "The arms differ only in what is compared"
    assert found[f"{alike}: settings"][0] == "yes"
    assert found[f"{alike}: initial weights"][0] == "yes"
    assert found[f"{alike}: data"][0] == "not recorded"


def test_versions_that_differ_or_are_missing_are_no_yes(folder):
    other = ENVIRONMENT | {"packages": {"torch": "2.16.0"}, "git": {"dirty": True}}
    write_run(folder, "none", 10, 0.9, environment=other)
    found = answers(compare(load_runs(folder)))
    assert found["One version of PyTorch"] == ("no", "2.15.0, 2.16.0")
    commit = "0123456789 (1 of 21 runs do not record it)"
    assert found["One version of the code"] == ("not recorded", commit)
    assert found["All code was committed"] == (
        "no",
        "1 of 21 runs had uncommitted changes",
    )


@pytest.mark.parametrize(
    ("written", "answer"), [(True, "yes"), (False, "not recorded"), (None, "no")]
)
def test_a_rule_counts_only_if_all_runs_carry_it(folder, written, answer):
    found = answers(compare(load_runs(folder)), rule_written_before=written)
    assert found["The rule of the verdict was written before the runs"][0] == answer


def test_a_choice_by_validation_is_a_yes(tmp_path):
    for lr in (0.1, 1.0):
        settings = {"optimizer.lr": lr}
        write_seeds(tmp_path, {"none": NONE, "custom": BETTER}, settings=settings)
    comparison = compare(load_runs(tmp_path), select="optimizer.lr")
    question = "A hyperparameter was chosen per arm, not by the compared scores"
    assert answers(comparison)[question] == ("yes", "optimizer.lr by val/accuracy")


def test_what_other_programs_do_not_record_is_said(tmp_path):
    rows = []
    for arm in ("adam", "sgd"):
        rows += [f"{arm},{seed},{value}" for seed, value in enumerate(NONE)]
    path = tmp_path / "results.csv"
    path.write_text("optimizer,seed,acc\n" + "\n".join(rows))
    runs = load_results(path, by="optimizer", metric="acc")
    comparison = compare(runs, "optimizer", "acc", baseline="sgd")
    found = answers(comparison)
    for question in ("One version of the code", "One kind of device"):
        assert found[question] == ("not recorded", "the runs do not record it")
    question = "The metric was computed on data that training did not see"
    assert found[question] == ("not recorded", "the name acc does not say")
