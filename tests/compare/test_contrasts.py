"""What is paired, what is tested, and what is said of every contrast."""

import numpy as np
import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.contrasts import _spread
from normlab.compare.samples import Sample
from normlab.compare.sentences import p_value

NONE = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.91, 0.92, 0.93, 0.94]
GAIN = [0.020, 0.018, 0.022, 0.019, 0.021, 0.020, 0.017, 0.023, 0.020, 0.020]
CUSTOM = [value + gain for value, gain in zip(NONE, GAIN, strict=True)]


def contrast(found, arm="custom"):
    return found.contrasts.set_index("arm").loc[arm]


def test_spreads_by_hand():
    arm, baseline = np.array([1.0, 2, 3]), np.array([0.0, 4, 2])
    # Differences of 1, -2 and 1 have variance 3; the arms have variances 1 and 4.
    assert _spread(Sample(arm, baseline, True)) == pytest.approx(3**0.5)
    assert _spread(Sample(arm, baseline, False)) == pytest.approx(2.5**0.5)
    assert np.isnan(_spread(Sample(arm[:2], baseline[:2], True)))


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
        "custom does better than none: its test/accuracy is 0.0200 higher (95 % "
        "interval"
    )
    assert "10 pairs of runs with the same seed, p = 0.002)" in row["sentence"]


def test_the_arm_that_does_worse_has_the_lower_score(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": CUSTOM})
    row = contrast(compare(load_runs(tmp_path), baseline="custom"), "none")
    assert row["sentence"].startswith(
        "none does worse than custom: its test/accuracy is 0.0200 lower (95 % interval "
        "−0.02"
    )


def test_a_loss_is_better_when_it_is_low(tmp_path):
    for norm, values in {"none": NONE, "custom": CUSTOM}.items():
        for seed, value in enumerate(values):
            write_run(tmp_path, norm, seed, metrics={"test/loss": value})
    row = contrast(compare(load_runs(tmp_path), metric="test/loss"))
    assert row["verdict"] == "worse"
    assert row["improvement"] < 0.5
    assert (row["wins"], row["ties"]) == (0, 0)


def test_too_few_pairs_are_compared_as_independent_runs(tmp_path):
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


def test_more_pairs_are_requested_if_runs_lack_a_partner(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:6], "custom": CUSTOM[:5]})
    row = contrast(compare(load_runs(tmp_path), margin=0.001))
    assert "1 run without a partner left out" in row["sentence"]
    assert row["sentence"].endswith(
        "but the exact test of 5 pairs cannot give a p below 0.0625; at least 6 pairs "
        "are needed. "
        "Equivalence within ±0.0010 is not tested below 6 either. With 80 % power, 6 "
        "pairs show a difference of 0.0028, if they spread like these."
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
    assert row["verdict"] == "cannot tell"  # 2 / 64 * 2 = 0.0625
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
    assert (
        "10 pairs cannot exclude that up to 26% of runs behave otherwise"
        in row["sentence"]
    )
    wide = contrast(compare(runs, baseline="torch", margin=0.0001))
    assert wide["verdict"] == "not told apart"
    assert (
        "seeds would show a difference of 0.00010 with 80 % power if they spread like "
        "these; added to these, they would be a second look." in wide["sentence"]
    )
    (margin,) = compare(runs, baseline="torch", margin="1%").margins.values()
    assert margin == pytest.approx(0.01 * np.mean(NONE))


def test_equivalence_is_corrected_for_the_number_of_contrasts(tmp_path):
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
        f"two one-sided tests {p_value(both['equivalence_p_holm'])} after Holm's "
        f"correction for 2" in both["sentence"]
    )
    assert (
        f"two one-sided tests {p_value(alone['equivalence_p'])})" in alone["sentence"]
    )


def test_an_arm_without_any_result(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    write_seeds(tmp_path, {"none": NONE}, status="diverged")
    row = contrast(compare(load_runs(tmp_path)))
    assert (row["verdict"], row["test"], row["p"]) == ("better", "ranks", 2 / 1024)
    assert row["sentence"] == (
        "custom does better than none by ranks, with diverged and failed runs as the "
        "worst (10 pairs of runs with the same seed, exact signed-rank test p = "
        "0.002). It is meaningful: custom is the better one in 10 of 10 pairs "
        "(P(better) 95 % interval 0.69 to 1.00). 0 of 10 runs of custom and 10 of 10 "
        "runs of none diverged (trained as often: Fisher's p < 0.001)."
    )


def test_failures_alone_show_nothing(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    write_seeds(tmp_path, {"none": NONE}, status="failed")
    row = contrast(compare(load_runs(tmp_path)))
    assert (row["verdict"], row["test"]) == ("cannot tell", "ranks")
    assert row["sentence"] == (
        "Cannot tell whether custom and none differ in test/accuracy: no run of none "
        "finished. 0 of 10 runs of custom and 10 of 10 runs of none failed."
    )


def test_an_arm_with_diverged_runs_is_not_better_by_the_others(tmp_path):
    for seed, (none, custom) in enumerate(zip(NONE, CUSTOM, strict=True)):
        write_run(tmp_path, "none", seed, none)
        status = "diverged" if seed < 4 else "finished"
        write_run(tmp_path, "custom", seed, custom, status)
    row = contrast(compare(load_runs(tmp_path), margin=0.03))
    # The four lost pairs share the ranks 7 to 10: −34 against +21.
    assert (row["verdict"], row["test"], row["direction"]) == (
        "not told apart",
        "ranks",
        -1,
    )
    assert row["p"] > 0.4
    assert row["sentence"].startswith(
        "No difference in test/accuracy between custom and none was shown by ranks, "
        "with diverged and failed runs as the worst, nor that they are equivalent "
        "within ±0.0300 (10 pairs of runs with the same seed, exact signed-rank test"
    )
    assert (
        " 4 of 10 runs of custom and 0 of 10 runs of none diverged (trained as often: "
        "Fisher's p = 0.087)." in row["sentence"]
    )
    assert (
        " Of the runs that finished, those of custom have a mean test/accuracy 0.0202 "
        "higher (95 % interval +0.0170 to +0.0230, 6 pairs of runs with the same seed, "
        "4 runs without a partner left out); these are the better part of an arm that "
        "lost runs." in row["sentence"]
    )
    assert row["doubt"] == "4 of 10 runs of custom diverged"


def test_interval_and_corrected_test_agree(tmp_path):
    random = np.random.default_rng(5)
    names = ["custom", "torch", "ghost"]
    gains = dict(zip(names, (0.002, 0.006, 0.01), strict=True))
    arms = {"none": NONE}
    for name, gain in gains.items():
        arms[name] = [value + gain + 0.008 * random.normal() for value in NONE]
    write_seeds(tmp_path, arms)
    rows = compare(load_runs(tmp_path)).contrasts
    is_off = (rows["low_holm"] > 0) | (rows["high_holm"] < 0)
    assert is_off.tolist() == (rows["p_holm"] < 0.05).tolist()
    is_off_alone = (rows["low"] > 0) | (rows["high"] < 0)
    assert is_off_alone.tolist() == (rows["p"] < 0.05).tolist()
    first = rows.loc[rows["p"].idxmin()]
    assert first["confidence"] == pytest.approx(1 - 0.05 / 3)
    assert "98.3 % interval" in first["sentence"]
    assert first["low_all"] == first["low_holm"]


def test_arms_of_unequal_spread_are_named(tmp_path):
    wide = [0.2, 0.5, 0.6, 0.7, 0.75, 0.6, 0.7, 0.5, 0.4, 0.65]
    write_seeds(tmp_path, {"none": wide, "custom": NONE})
    found = compare(load_runs(tmp_path))
    row = contrast(found)
    assert (row["verdict"], row["test"]) == ("better", "mean and wins")
    assert row["spread_ratio"] == pytest.approx(
        np.std(wide, ddof=1) / np.std(NONE, ddof=1)
    )
    assert "the larger one of the tests of the mean and of the wins" in row["sentence"]
    assert row["sentence"].endswith(
        " The runs of none spread 11 times as much as those of custom (SD 0.1663 "
        "against 0.0158), so the means say little about rare bad runs: the median "
        "difference is +0.3350, and custom wins 10 of 10 pairs."
    )
    assert any(
        text.startswith(
            "Of custom and none, the runs of one spread 11 times as much as those"
        )
        for text in found.warnings
    )


def test_collapsed_runs_are_counted(tmp_path):
    fallen = [*CUSTOM[:8], 0.1, 0.11]
    write_seeds(tmp_path, {"none": NONE, "custom": fallen})
    row = contrast(compare(load_runs(tmp_path)))
    assert (row["collapsed"], row["collapsed_baseline"]) == (2, 0)
    assert (
        " Finished runs far worse than the rest of their arm: 2 of 10 of custom."
        in row["sentence"]
    )


def test_a_doubt_about_equivalence_is_said(tmp_path):
    near = [value + shift for value, shift in zip(NONE, [1e-3, -1e-3] * 5, strict=True)]
    near[0] = NONE[0] + 0.02
    write_seeds(tmp_path, {"torch": NONE, "custom": near})
    row = contrast(compare(load_runs(tmp_path), baseline="torch", margin=0.02))
    assert row["equivalence_p"] < 0.001
    assert row["verdict"] == "not told apart"
    assert (
        "Two one-sided tests would call them equivalent (p < 0.001), but the "
        "differences are skewed (skewness +2.5)." in row["sentence"]
    )


def test_folds_are_not_treated_as_independent(tmp_path):
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


def test_six_seeds_are_too_few_to_show_equivalence(tmp_path):
    near = [
        value + shift for value, shift in zip(NONE[:6], [1e-5, -1e-5] * 3, strict=True)
    ]
    write_seeds(tmp_path, {"none": NONE[:6], "custom": near, "torch": near[::-1]})
    rows = compare(load_runs(tmp_path), margin=0.05).contrasts
    assert (rows["attainable_p"] * 2 > 0.05).all()
    row = rows.set_index("arm").loc["custom"]
    assert (row["verdict"], row["equivalence_p"] < 1e-9) == ("cannot tell", True)
    assert row["sentence"].endswith(
        "run at least 7 seeds. Two one-sided tests would call them equivalent (p < "
        "0.001 after Holm's correction for 2 contrasts), but 6 pairs miss rare runs "
        "too easily; at least 10 are needed. With 80 % power, 7 pairs show a "
        "difference of 0.000020, if they spread like these."
    )


def test_the_second_step_of_holm_shows_a_difference(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": CUSTOM, "torch": CUSTOM[:6]})
    row = contrast(compare(load_runs(tmp_path)), "torch")
    assert row["p_holm"] == pytest.approx(
        2 / 64
    )  # the second step; the first was 2 * 2 / 1024
    assert row["verdict"] == "better"


def test_the_sentence_says_why_an_arm_has_no_value(tmp_path):
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
        "Cannot tell whether custom and none differ in test/f1: no finished run of "
        "none has test/f1."
    )
    assert contrast(found, "torch")["sentence"] == (
        "Cannot tell whether torch and none differ in test/f1: no run of torch "
        "finished and no finished run of none has test/f1. 3 of 8 runs of torch and 0 "
        "of 8 runs of none diverged. 5 of 8 runs of torch and 0 of 8 runs of none "
        "failed."
    )
