"""Lines about pairs that were lost."""

from compare.helpers import write_run
from normlab.compare import compare, load_runs


def test_lost_pairs_are_counted_and_all_runs_tested(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "none", seed, 0.90 + 0.002 * (seed % 5))
        write_run(tmp_path, "custom", seed + 4, 0.91 + 0.002 * (seed % 5))
    found = compare(load_runs(tmp_path))
    row = found.contrasts.iloc[0]
    assert (row["design"], row["n"], row["left_out"]) == ("paired", 6, 8)
    # Both arms have SD .00298, and Welch's interval has 18 degrees of freedom.
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
