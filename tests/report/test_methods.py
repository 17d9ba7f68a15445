"""The methods paragraph and the checklist: what the runs say, and what they do not."""

import pytest
from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_results, load_runs
from normlab.report import cli
from normlab.report.methods import methods_paragraph

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92, 0.95, 0.91, 0.92, 0.94]
BETTER = [value + 0.01 for value in NONE]


@pytest.fixture
def folder(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": BETTER})
    return tmp_path


def test_a_paragraph_says_what_the_runs_recorded(folder):
    assert methods_paragraph(compare(load_runs(folder))) == (
        "We compared norm (none, custom) by test/accuracy (higher is better), with "
        "none as the baseline. All runs share model mlp, dataset digits, optimizer "
        "sgd, learning rate 0.1, schedule none, batch size 64, epochs at most 5, "
        "precision 32-true. Every arm was run 10 times; arms share their seeds (0, 1, "
        "2, 3, 4, and 5 more). All 20 runs finished. The scores of a run are those of "
        "its best epoch by the validation score of its task. Differences to the "
        "baseline were tested in pairs of runs with the same seed by the exact "
        "sign-flip test, at level 0.05. The runs record device cpu; platform Linux; "
        "Python 3.11.7; PyTorch 2.15.0; normlab 0.1.0; commit 0123456789."
    )


def test_lost_runs_margins_and_corrections_are_said(folder):
    write_seeds(folder, {"torch": NONE[::-1]})
    write_run(folder, "torch", 10, 0.5, "diverged")
    text = methods_paragraph(compare(load_runs(folder), margin=0.02))
    assert "Every arm was run 10 to 11 times" in text
    assert "Of 31 runs, 1 diverged; such runs count as outcomes." in text
    assert "1 of 2 contrasts were decided by ranks, in which runs that diverged" in text
    assert "Holm's correction over 2 contrasts keeps" in text
    assert "Equivalence was tested by two one-sided t tests within ±0.0200." in text


def test_a_margin_that_is_not_tested_is_not_said_to_be(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3], "custom": BETTER[:3]})
    text = methods_paragraph(compare(load_runs(tmp_path), margin=0.02))
    assert "A margin of ±0.0200 was stated; no contrast has enough runs" in text


def test_a_choice_is_named_with_its_grid_and_its_metric(tmp_path):
    for lr in (0.1, 1.0):
        settings = {"optimizer.lr": lr}
        write_seeds(tmp_path, {"none": NONE, "custom": BETTER}, settings=settings)
    comparison = compare(load_runs(tmp_path), select="optimizer.lr")
    text = methods_paragraph(comparison)
    assert (
        "at its best optimizer.lr of 2 values (0.1, 1), chosen by the mean val/" in text
    )


def test_nothing_is_claimed_of_other_programs(tmp_path):
    rows = []
    for arm in ("adam", "sgd"):
        for seed, value in enumerate(NONE):
            rows.append(f"{arm},{seed},{value + 0.01 * (arm == 'adam')}")
    path = tmp_path / "results.csv"
    path.write_text("optimizer,seed,acc\n" + "\n".join(rows))
    runs = load_results(path, by="optimizer", metric="acc")
    comparison = compare(runs, "optimizer", "acc", baseline="sgd")
    assert methods_paragraph(comparison) == (
        "We compared optimizer (sgd, adam) by acc (higher is better), with sgd as the "
        "baseline. Every arm was run 10 times; arms share their seeds (0, 1, 2, 3, 4, "
        "and 5 more). All 20 runs finished. Differences to the baseline were tested in "
        "pairs of runs with the same seed by the exact sign-flip test, at level 0.05."
    )


def test_terminal_and_page_have_both(folder, tmp_path, capsys):
    cli.main([str(folder), "--methods", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "We compared norm (none, custom) by test/accuracy" in printed
    assert "• At least 10 runs per arm: yes, the smallest arm has 10 results" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "We compared norm (none, custom) by test/accuracy" in page
    assert "Checklist for a reviewer" in page
    cli.main([str(folder)])
    assert "We compared" not in capsys.readouterr().out


def test_arms_that_lost_all_runs_are_still_pairs(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:6]})
    for norm in ("custom", "torch"):
        for seed in range(6):
            write_run(tmp_path, norm, seed, 0.5, "diverged")
    comparison = compare(load_runs(tmp_path))
    text = methods_paragraph(comparison)
    assert "Every arm was run 6 times; arms share their seeds (0, 1" in text
    assert "2 of 2 contrasts were decided by ranks" in text
    assert comparison.contrasts["p"].tolist() == [0.03125, 0.03125]
    for sentence in comparison.contrasts["sentence"]:
        assert "exact test of 6 pairs cannot give a p below 0.0312, times 2" in sentence
