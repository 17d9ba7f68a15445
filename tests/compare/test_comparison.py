"""Whole comparisons of made-up runs: what is paired, what is refused, what is said."""

import re

import numpy as np
import pandas as pd
import pytest

from compare.helpers import ENVIRONMENT, write_run, write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.sentences import p_value
from normlab.report.tables import contrast_table

NONE = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.91, 0.92, 0.93, 0.94]
GAIN = [0.020, 0.018, 0.022, 0.019, 0.021, 0.020, 0.017, 0.023, 0.020, 0.020]
CUSTOM = [value + gain for value, gain in zip(NONE, GAIN, strict=True)]


def contrast(found, arm="custom"):
    return found.contrasts.set_index("arm").loc[arm]


def test_summary_of_an_arm(tmp_path):
    write_seeds(tmp_path, {"none": [0.90, 0.92, 0.94], "custom": [0.95, 0.96, 0.97]})
    row = compare(load_runs(tmp_path)).summaries.set_index("arm").loc["none"]
    assert (
        row["n"],
        row["mean"],
        row["median"],
        row["min"],
        row["max"],
    ) == pytest.approx((3, 0.92, 0.92, 0.90, 0.94))
    assert row["sd"] == pytest.approx(0.02)
    assert (row["low"], row["high"]) == pytest.approx(
        (0.92 - 0.0496828, 0.92 + 0.0496828), abs=1e-6
    )  # t = 4.302653


def test_runs_with_the_same_seeds_are_paired(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": CUSTOM})
    row = contrast(compare(load_runs(tmp_path)))
    assert (row["design"], row["n"], row["baseline"], row["verdict"]) == (
        "paired",
        10,
        "none",
        "better",
    )
    assert row["difference"] == pytest.approx(0.02)
    assert row["p"] == pytest.approx(2 / 1024)
    assert row["correlation"] > 0.99
    assert row["low"] > 0.0185  # pairing removes the spread that both arms share
    assert row["welch_low"] < 0.01
    assert row["sentence"].startswith(
        "custom does better than none: its test/accuracy is 0.0200 higher (95 % interval"
    )
    assert "10 pairs of runs with the same seed, p = 0.002)" in row["sentence"]


def test_a_loss_is_better_when_it_is_low(tmp_path):
    for norm, values in {"none": NONE, "custom": CUSTOM}.items():
        for seed, value in enumerate(values):
            write_run(tmp_path, norm, seed, metrics={"test/loss": value})
    row = contrast(compare(load_runs(tmp_path), metric="test/loss"))
    assert row["verdict"] == "worse"
    assert row["improvement"] < 0.5


def test_disjoint_seeds_fall_back_to_independent_runs_and_say_so(tmp_path):
    write_seeds(tmp_path, {"none": NONE})
    for seed, value in enumerate(CUSTOM, 100):
        write_run(tmp_path, "custom", seed, value)
    found = compare(load_runs(tmp_path))
    row = contrast(found)
    assert (row["design"], row["n"], row["n_baseline"]) == ("independent", 10, 10)
    assert row["p"] > 2 / 1024
    assert 0 < row["permutation_p"] < 0.05
    assert (
        "custom and none share too few seeds (100, 101, 102, …, 109 against 0, 1, 2, …, 9): compared as independent "
        "runs. The same seeds would make pairs." in found.warnings
    )


def test_too_few_pairs_for_a_test_give_way_to_runs_that_are_enough(tmp_path):
    write_seeds(tmp_path, {"none": NONE})
    for seed, value in enumerate(CUSTOM, 5):  # five of ten seeds are shared
        write_run(tmp_path, "custom", seed, value)
    row = contrast(compare(load_runs(tmp_path)))
    assert (row["design"], row["n"], row["n_baseline"], row["left_out"]) == (
        "independent",
        10,
        10,
        0,
    )
    assert row["verdict"] == "better"


def test_more_pairs_are_asked_for_where_runs_have_no_partner(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:6], "custom": CUSTOM[:5]})
    row = contrast(compare(load_runs(tmp_path), margin=0.001))
    assert "1 run without a partner left out" in row["sentence"]
    assert row["sentence"].endswith(
        "but the exact test of 5 pairs cannot give a p below 0.0625; at least 6 pairs are needed. "
        "Equivalence within ±0.0010 is not tested below 6 either."
    )


def test_three_seeds_cannot_tell(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3], "custom": CUSTOM[:3]})
    row = contrast(compare(load_runs(tmp_path)))
    assert row["verdict"] == "cannot tell"
    assert np.isnan(row["p"])
    assert row["sentence"].startswith(
        "Cannot tell with 3 seeds whether custom and none differ in test/accuracy"
    )
    assert "cannot give a p below 0.25; run at least 6 seeds" in row["sentence"]


def test_six_seeds_are_too_few_for_two_contrasts(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:6], "custom": CUSTOM[:6], "torch": CUSTOM[:6]})
    row = contrast(compare(load_runs(tmp_path)))
    assert row["verdict"] == "cannot tell"  # 2 / 64 * 2 = .0625
    assert "p below 0.0312, times 2 contrasts; run at least 7 seeds" in row["sentence"]


def test_holm_counts_the_planned_contrasts_only(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": CUSTOM, "torch": NONE})
    runs = load_runs(tmp_path)
    assert contrast(compare(runs))["p_holm"] == pytest.approx(4 / 1024)
    assert contrast(compare(runs, arms=["custom"]))["p_holm"] == pytest.approx(2 / 1024)


def test_equivalence_needs_a_margin(tmp_path):
    near = [
        value + shift for value, shift in zip(NONE, [0.001, -0.001] * 5, strict=True)
    ]
    write_seeds(tmp_path, {"torch": NONE, "custom": near})
    runs = load_runs(tmp_path)
    assert contrast(compare(runs, baseline="torch"))["verdict"] == "not told apart"
    row = contrast(compare(runs, baseline="torch", margin=0.005))
    assert row["verdict"] == "equivalent"
    assert "equivalent in test/accuracy within ±0.0050" in row["sentence"]
    wide = contrast(compare(runs, baseline="torch", margin=0.0001))
    assert wide["verdict"] == "not told apart"
    assert (
        "seeds would show a difference of 0.00010 with 80 % power" in wide["sentence"]
    )
    assert compare(runs, baseline="torch", margin="1%").margin == pytest.approx(
        0.01 * np.mean(NONE)
    )


def test_equivalence_and_the_seeds_for_it_allow_for_the_number_of_contrasts(tmp_path):
    near = [
        value + shift for value, shift in zip(NONE, [0.004, -0.003] * 5, strict=True)
    ]
    write_seeds(tmp_path, {"torch": NONE, "custom": near, "ghost": near})
    both = contrast(compare(load_runs(tmp_path), baseline="torch", margin=0.004))
    alone = contrast(
        compare(load_runs(tmp_path), baseline="torch", margin=0.004, arms=["custom"])
    )
    assert both["equivalence_p_holm"] == pytest.approx(2 * alone["equivalence_p_holm"])
    assert (
        f"two one-sided tests {p_value(both['equivalence_p_holm'])} after Holm's correction for 2"
        in both["sentence"]
    )
    assert (
        f"two one-sided tests {p_value(alone['equivalence_p'])})" in alone["sentence"]
    )
    assert both["sample_size"] > alone["sample_size"]


def test_diverged_and_failed_runs_are_counted_and_not_averaged(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:8], "custom": CUSTOM[:10]})
    for seed, status in ((8, "diverged"), (9, "diverged"), (10, "failed")):
        write_run(tmp_path, "none", seed, 0.1, status)
    found = compare(load_runs(tmp_path))
    row = found.summaries.set_index("arm").loc["none"]
    assert (row["runs"], row["n"], row["diverged"], row["failed"]) == (11, 8, 2, 1)
    assert row["mean"] == pytest.approx(np.mean(NONE[:8]))
    assert (row["trained"], row["trained_low"]) == pytest.approx(
        (0.8, 0.490162), abs=1e-6
    )
    told = contrast(found)["sentence"]
    assert "2 runs without a partner left out" in told
    assert (
        "2 runs of none diverged and cannot be in these means (trained as often: Fisher's p = 0.474)."
        in told
    )


def test_an_arm_without_any_result(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    write_seeds(tmp_path, {"none": NONE}, status="diverged")
    row = contrast(compare(load_runs(tmp_path)))
    assert "no run of none finished" in row["sentence"]
    assert "10 runs of none diverged" in row["sentence"]


def test_folds_are_not_taken_for_independent(tmp_path):
    for fold in range(10):
        write_run(tmp_path, "none", 0, NONE[fold], settings={"dataset.fold": fold})
        write_run(
            tmp_path,
            "custom",
            0,
            CUSTOM[fold] + 0.01 * (fold % 3),
            settings={"dataset.fold": fold},
        )
    found = compare(load_runs(tmp_path))
    row = contrast(found)
    assert (row["design"], row["n"]) == ("folds", 10)
    differences = np.array(CUSTOM) + 0.01 * (np.arange(10) % 3) - NONE
    half = 2.262157 * differences.std(ddof=1) * np.sqrt(1 / 10 + 1 / 9)
    assert (row["low"], row["high"]) == pytest.approx(
        (differences.mean() - half, differences.mean() + half), abs=1e-6
    )
    assert np.isnan(row["improvement_low"])
    assert any("Folds share training data" in text for text in found.warnings)


def test_other_settings_that_vary_are_compared_separately(tmp_path):
    for lr in (0.1, 0.01):
        write_seeds(
            tmp_path,
            {"none": NONE[:3], "custom": CUSTOM[:3]},
            settings={"optimizer.lr": lr},
        )
    found = compare(load_runs(tmp_path))
    assert found.within == ["optimizer.lr"]
    assert (
        found.summaries["where"].tolist()
        == ["optimizer.lr=0.01"] * 2 + ["optimizer.lr=0.1"] * 2
    )
    assert (
        found.contrasts["sentence"]
        .str.startswith(("At optimizer.lr=0.01, ", "At optimizer.lr=0.1, "))
        .all()
    )


def test_settings_of_a_norm_make_arms_of_their_own(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]})
    for momentum in (0.1, 0.01):
        write_seeds(
            tmp_path, {"custom": CUSTOM[:3]}, settings={"norm.momentum": momentum}
        )
    assert compare(load_runs(tmp_path)).arms == [
        "none",
        "custom, norm.momentum=0.01",
        "custom, norm.momentum=0.1",
    ]


def test_arms_that_differ_in_more_than_the_norm_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]}, settings={"optimizer.lr": 0.1})
    write_seeds(
        tmp_path,
        {"custom": CUSTOM[:3]},
        settings={"optimizer.lr": 0.2, "choices.optimizer": "adam"},
    )
    warnings = compare(load_runs(tmp_path)).warnings
    assert "custom and none also differ in optimizer (adam against sgd)." in warnings
    assert not any("norm.eps" in text for text in warnings)


def test_different_origins_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]})
    other = ENVIRONMENT | {"git": {"commit": "fedcba9876543210", "dirty": True}}
    write_seeds(tmp_path, {"custom": CUSTOM[:3]}, environment=other)
    warnings = compare(load_runs(tmp_path)).warnings
    assert (
        "The runs come from 2 commits: 0123456789abcdef0123, fedcba9876543210."
        in warnings
    )
    assert "3 of 6 runs were made with uncommitted changes in the code." in warnings


def test_runs_of_other_settings_are_not_a_distribution(tmp_path):
    for lr in (0.1, 0.01):
        write_seeds(
            tmp_path,
            {"none": NONE[:3], "custom": CUSTOM[:3]},
            settings={"optimizer.lr": lr},
        )
    with pytest.raises(
        ValueError,
        match=r"runs share seed 0 .*; they differ in optimizer.lr: add it to `within`",
    ):
        compare(load_runs(tmp_path), within=[])


def test_the_users_mistakes(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3], "custom": CUSTOM[:3]})
    runs = load_runs(tmp_path)
    for options, message in (
        (
            {"metric": "test/acuracy"},
            "no metric 'test/acuracy'; did you mean test/accuracy",
        ),
        ({"by": "nrom"}, r"no setting 'nrom'; did you mean norm"),
        ({"baseline": "non"}, "no arm 'non'; did you mean none"),
        ({"arms": ["custon"]}, "no arm 'custon'; did you mean custom"),
        (
            {"arms": ["none"]},
            "arms must name arms besides the baseline none, such as custom; got none",
        ),
        ({"margin": "-1"}, "margin must be a number above 0"),
        ({"margin": "wide"}, "margin must be a number above 0 .* got wide"),
        ({"level": 5}, "level must be between 0 and 1, got 5"),
        ({"by": []}, "by must name a setting, such as norm; it names none"),
        (
            {"by": ["norm", "seed"]},
            "by must name a setting that changes what is trained; seed only repeats it",
        ),
        ({"by": "dataset.fold"}, "no setting 'dataset.fold'"),
        (
            {"select": "seed"},
            "select must name a setting that changes what is trained; seed only repeats it",
        ),
        (
            {"select": "norm"},
            "select must name a setting besides those that make the arms, and norm is in `by`",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            compare(runs, **options)


def test_one_seed_an_arm_is_refused(tmp_path):
    write_seeds(tmp_path, {"none": [0.9], "custom": [0.95]})
    with pytest.raises(ValueError, match=r"at least two runs, each has one \(seed 0\)"):
        compare(load_runs(tmp_path))


def test_runs_that_all_failed_are_refused(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:2]}, status="failed")
    with pytest.raises(
        ValueError,
        match="no finished run has test/accuracy: 2 failed, none finished; look at",
    ):
        compare(load_runs(tmp_path))


def test_runs_that_all_diverged_need_no_metric_to_say_so(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "none", seed, None, "diverged")
        write_run(tmp_path, "custom", seed, None, "diverged" if seed else "failed")
    with pytest.raises(
        ValueError,
        match="no finished run has test/accuracy: 5 diverged, 1 failed, none finished",
    ):
        compare(load_runs(tmp_path))


def test_no_runs_are_refused(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:2]})
    with pytest.raises(
        ValueError, match="there must be runs to compare, and the table has none"
    ):
        compare(load_runs(tmp_path).iloc[:0])


def test_runs_without_the_metric_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3], "custom": CUSTOM[:3]})
    folder = write_run(tmp_path, "custom", 3, None)
    found = compare(load_runs(tmp_path))
    assert (
        "test/accuracy is missing in 1 of 7 runs that finished, and they are left out; "
        f"the first is {folder}. rerun=true trains a run again." in found.warnings
    )
    assert contrast(found)["n"] == 3


def test_equivalence_is_told_where_the_exact_test_could_not_tell_a_difference(tmp_path):
    near = [
        value + shift for value, shift in zip(NONE[:6], [1e-5, -1e-5] * 3, strict=True)
    ]
    write_seeds(tmp_path, {"none": NONE[:6], "custom": near, "torch": near[::-1]})
    rows = compare(load_runs(tmp_path), margin=0.05).contrasts
    assert (rows["attainable_p"] * 2 > 0.05).all()
    row = rows.set_index("arm").loc["custom"]
    assert (row["verdict"], row["equivalence_p"] < 1e-9) == ("equivalent", True)
    assert row["sentence"].startswith(
        "custom and none are equivalent in test/accuracy within ±0.0500"
    )


def test_a_difference_that_holm_allows_is_told(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": CUSTOM, "torch": CUSTOM[:6]})
    row = contrast(compare(load_runs(tmp_path)), "torch")
    assert row["p_holm"] == pytest.approx(
        2 / 64
    )  # the second step; the first was 2 * 2 / 1024
    assert row["verdict"] == "better"


def test_what_is_missing_is_told(tmp_path):
    for seed in range(8):
        write_run(
            tmp_path,
            "custom",
            seed,
            0.9 + 0.001 * seed,
            metrics={"test/f1": 0.5 + 0.01 * seed},
        )
        write_run(tmp_path, "none", seed, 0.9)
        write_run(tmp_path, "torch", seed, status="diverged" if seed < 3 else "failed")
    found = compare(load_runs(tmp_path), metric="test/f1")
    assert contrast(found)["sentence"] == (
        "Cannot tell whether custom and none differ in test/f1: no finished run of none has test/f1."
    )
    assert contrast(found, "torch")["sentence"] == (
        "Cannot tell whether torch and none differ in test/f1: no run of torch finished (5 failed) and no finished "
        "run of none has test/f1. 3 runs of torch diverged and cannot be in these means."
    )


def test_a_direction_that_is_assumed_is_named(tmp_path):
    for norm, values in {"none": NONE[:3], "custom": CUSTOM[:3]}.items():
        for seed, value in enumerate(values):
            write_run(
                tmp_path,
                norm,
                seed,
                value,
                metrics={"test/f1": value, "test/wobble": value, "test/loss": 1},
            )
    runs = load_runs(tmp_path)
    names = (
        "test/wobble",
        "test/f1",
        "test/loss",
        "seconds",
        "epochs",
        "best_epoch",
        "samples_per_second",
    )
    told = {name: compare(runs, metric=name).warnings for name in names}
    assumed = "Lower {} is taken to be better: its name does not say"
    assert {
        name: any(text.startswith(assumed.format(name)) for text in texts)
        for name, texts in told.items()
    } == {
        "test/wobble": True,
        "test/f1": False,
        "test/loss": False,
        "seconds": False,
        "epochs": True,
        "best_epoch": True,
        "samples_per_second": False,
    }
    assert compare(runs, metric="test/f1").higher_is_better


def test_the_same_twice_counts_once(tmp_path):
    write_seeds(
        tmp_path,
        {"none": NONE[:6], "custom": CUSTOM[:6]},
        settings={"optimizer.lr": 0.1},
    )
    write_seeds(
        tmp_path,
        {"none": NONE[:6], "custom": CUSTOM[:6]},
        settings={"optimizer.lr": 0.2},
    )
    found = compare(
        load_runs(tmp_path),
        by=["norm", "norm"],
        arms=["custom", "custom"],
        within=["optimizer.lr", "optimizer.lr"],
    )
    assert (found.arms, found.within, len(found.contrasts)) == (
        ["none", "custom"],
        ["optimizer.lr"],
        2,
    )


def test_one_arm_alone_is_said(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    warning = "All runs are of one arm, custom: there is nothing to compare it to."
    assert warning in compare(load_runs(tmp_path)).warnings


@pytest.fixture
def rates(tmp_path):
    for lr in (0.1, 0.01):
        write_seeds(
            tmp_path,
            {"none": NONE[:3], "custom": CUSTOM[:3]},
            settings={"optimizer.lr": lr},
        )
    return load_runs(tmp_path)


def test_the_baseline_of_arms_of_several_settings_begins_with_none(rates):
    both = ["norm", "optimizer.lr"]
    assert compare(rates, by=both).baseline == "none, optimizer.lr=0.01"
    one = rates[(rates["norm"] != "none") | (rates["optimizer.lr"] == 0.1)]
    assert compare(one, by=both).baseline == "none, optimizer.lr=0.1"
    assert (
        compare(rates[rates["norm"] != "none"], by=both).baseline
        == "custom, optimizer.lr=0.01"
    )
    near = "did you mean 'none, optimizer.lr=0.01' or 'none, optimizer.lr=0.1'?"
    with pytest.raises(ValueError, match=re.escape(f"no arm 'none'; {near}")):
        compare(rates, by=both, baseline="none")


def test_a_repeated_run_is_no_group(rates):
    with pytest.raises(
        ValueError,
        match="every arm must have at least two runs .* leave seed out of `within`",
    ):
        compare(rates, within=["optimizer.lr", "seed"])


def test_settings_of_the_compared_norm_belong_to_the_arms(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]})
    for momentum, lr in ((0.1, 0.1), (0.01, 0.2)):
        settings = {"norm.momentum": momentum, "optimizer.lr": lr}
        write_seeds(tmp_path, {"custom": CUSTOM[:3]}, settings=settings)
    runs = load_runs(tmp_path)
    with pytest.raises(
        ValueError, match="add norm.momentum to `by` and optimizer.lr to `within`"
    ):
        compare(runs, within=["model"])
    with pytest.raises(
        ValueError, match="they differ in norm.momentum: add it to `by`"
    ):
        compare(runs.assign(**{"optimizer.lr": 0.1}), within=["model"])


def test_names_that_stand_alone_may_be_texts(rates):
    found = compare(rates, by="norm", within="optimizer.lr", arms="custom")
    assert (found.within, found.contrasts["arm"].tolist()) == (
        ["optimizer.lr"],
        ["custom", "custom"],
    )


def test_a_share_of_a_baseline_without_result_is_no_margin(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    write_seeds(tmp_path, {"none": NONE}, status="diverged")
    found = compare(load_runs(tmp_path), margin="5%")
    assert found.margin is None
    assert (
        "The margin of 5% is left out: it is a share of none, which has no test/accuracy."
        in found.warnings
    )
    assert contrast_table(found).title == "Difference to none in test/accuracy"


def test_tables_put_together_are_one(tmp_path):
    write_seeds(tmp_path / "a", {"none": NONE[:3]})
    write_seeds(tmp_path / "b", {"custom": CUSTOM[:3]})
    write_run(tmp_path / "b", "custom", 3, None)
    found = compare(pd.concat([load_runs(tmp_path / name) for name in "ab"]))
    assert found.runs.index.is_unique
    assert any(
        text.startswith("test/accuracy is missing in 1 of 7 runs")
        for text in found.warnings
    )
