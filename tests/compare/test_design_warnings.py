"""Lines about pairs that were lost."""

import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs
from normlab.compare.design_warnings import design_warnings

METRIC = "test/accuracy"
INDEPENDENT = {
    "where": "",
    "arm": "custom",
    "baseline": "none",
    "test": "mean",
    "design": "independent",
    "n": 2,
    "n_baseline": 5,
    "left_out": 0,
    "spread_ratio": 1.0,
}


def lines(seeds, baseline_seeds, **changes):
    """The warnings about one contrast of runs with these seeds."""
    arms = ["custom"] * len(seeds) + ["none"] * len(baseline_seeds)
    group = pd.DataFrame({"arm": arms, "seed": [*seeds, *baseline_seeds]})
    contrasts = pd.DataFrame([INDEPENDENT | changes])
    return design_warnings(contrasts, [(contrasts["where"][0], group)], METRIC)


def test_arms_without_common_seeds_are_named_with_four_of_them():
    assert lines([7, 8], [0, 1, 2, 3, 4], where="model=vgg") == [
        "custom and none share too few seeds at model=vgg (7, 8 against 0, 1, 2, …, "
        "4): compared as independent runs. The same seeds would make pairs."
    ]
    assert "(5, 6, 7, 8 against 0):" in lines([5, 6, 7, 8], [0])[0]


def test_runs_of_other_programs_have_no_seeds():
    told = "custom and none have no seeds and are compared as independent runs."
    assert lines(["no seed 1", "no seed 2"], ["no seed 3"]) == [told]
    assert lines(["no seed 1", "no seed 2"], [0]) != [told]


@pytest.mark.parametrize("sizes", [(0, 5), (2, 0), (1, 1)])
def test_verdicts_themselves_say_why_single_runs_have_none(sizes):
    n, n_baseline = sizes
    assert lines([7], [0], n=n, n_baseline=n_baseline) == []
    assert len(lines([7], [0], n=1, n_baseline=2)) == 1


def test_a_spread_of_more_than_three_times_is_named():
    paired = {"design": "paired", "n": 6, "n_baseline": 6}
    assert lines([0], [0], **paired, spread_ratio=3.0) == []
    (line,) = lines([0], [0], **paired, spread_ratio=3.5)
    assert line.startswith(
        "Of custom and none, the runs of one spread 3.5 times as much as those of the "
        "other: their means may differ by rare runs that were not seen."
    )


def test_lost_pairs_are_counted_and_all_runs_tested(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "none", seed, 0.90 + 0.002 * (seed % 5))
        write_run(tmp_path, "custom", seed + 4, 0.91 + 0.002 * (seed % 5))
    found = compare(load_runs(tmp_path))
    row = found.contrasts.iloc[0]
    assert (row["design"], row["n"], row["left_out"]) == ("paired", 6, 8)
    # Both arms have SD 0.00298, and Welch's interval has 18 degrees of freedom.
    assert (
        "custom and none: 8 of 20 finished runs have no partner with the same seed and "
        "are left out of the 6 pairs. All of them as independent runs, by Welch's "
        "test: +0.0100 (95 % interval +0.0072 to +0.0128, 10 against 10 runs, p < "
        "0.001)." in found.warnings
    )


def test_whole_pairs_are_not_warned_about(tmp_path):
    for seed in range(6):
        write_run(tmp_path, "none", seed, 0.90 + 0.001 * seed)
        write_run(tmp_path, "custom", seed, 0.91 + 0.001 * seed)
    warnings = compare(load_runs(tmp_path)).warnings
    assert not any("partner" in text or "spreads" in text for text in warnings)
