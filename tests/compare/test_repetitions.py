"""Runs of one arm that are no repetitions of their own."""

import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare import compare, load_runs

VALUES = [0.90, 0.92, 0.94, 0.96]


def warnings_about(folder, word):
    found = compare(load_runs(folder))
    told = [check.message for check in found.checks if check.warns]
    lines = [line for line in told if word in line]
    assert set(lines) <= set(found.warnings)
    return lines


def arm(folder, norm, losses, weights=None):
    for seed, (value, loss) in enumerate(zip(VALUES, losses, strict=True)):
        digest = f"w{seed}" if weights is None else weights[seed]
        result = {"initial_weights": digest}
        metrics = {"test/loss": loss / 3}
        write_run(folder, norm, seed, value, metrics=metrics, result=result)


def test_runs_copied_under_other_seeds_are_named(tmp_path):
    arm(tmp_path, "none", [0.4, 0.3, 0.2, 0.1])
    arm(tmp_path, "custom", [0.4, 0.3, 0.4, 0.3])
    assert warnings_about(tmp_path, "last digit") == [
        "4 of 4 runs of custom agree with another run to the last digit (seeds 0, 1, "
        "2, 3): either they are copies or the seed has no effect, and they say no more "
        "than one run."
    ]


@pytest.mark.parametrize(("loss", "told"), [(0.1234, False), (0.12345, True)])
def test_losses_of_four_decimals_may_tie(tmp_path, loss, told):
    for norm in ("none", "custom"):
        for seed in range(3):
            metrics = {"test/loss": loss}
            write_run(tmp_path, norm, seed, VALUES[seed], metrics=metrics)
    assert bool(warnings_about(tmp_path, "last digit")) == told


def test_accuracies_may_tie(tmp_path):
    write_seeds(tmp_path, {"none": [0.9] * 3, "custom": [0.9, 0.9, 0.8]})
    assert warnings_about(tmp_path, "last digit") == []


def test_without_losses_the_first_weights_tell_copies(tmp_path):
    for norm, digests in (("none", "abc"), ("custom", "aba")):
        for seed, weights in enumerate(digests):
            result = {"initial_weights": weights}
            write_run(tmp_path, norm, seed, 0.9, result=result)
    (line,) = warnings_about(tmp_path, "last digit")
    assert line.startswith("2 of 3 runs of custom agree with another run to the last")
    assert "(seeds 0, 2)" in line


def test_folds_of_a_seed_share_their_first_weights(tmp_path):
    for norm in ("none", "custom"):
        for fold in range(3):
            settings = {"dataset.load.fold": fold}
            result = {"initial_weights": "a"}
            write_run(tmp_path, norm, 0, 0.9, settings=settings, result=result)
    assert warnings_about(tmp_path, "last digit") == []


def test_arms_may_agree_with_each_other(tmp_path):
    arm(tmp_path, "none", [0.4, 0.3, 0.2, 0.1])
    arm(tmp_path, "custom", [0.4, 0.3, 0.2, 0.1])
    assert warnings_about(tmp_path, "last digit") == []


@pytest.mark.parametrize(("digests", "count"), [("aabb", 2), ("aaaa", 1), ("abcc", 3)])
def test_data_replaced_within_an_arm_are_named(tmp_path, digests, count):
    for norm in ("none", "custom"):
        for seed, digest in enumerate(digests):
            result = {"data_digest": digest}
            write_run(tmp_path, norm, seed, VALUES[seed], result=result)
    expected = []
    if count > 1:
        expected = [
            f"The runs of {norm} had {count} versions of the data: files were replaced "
            "while the runs were made."
            for norm in ("custom", "none")
        ]
    assert warnings_about(tmp_path, "versions of the data") == expected


def test_folds_have_other_data_each(tmp_path):
    for norm in ("none", "custom"):
        for seed in range(2):
            for fold in range(3):
                write_run(
                    tmp_path,
                    norm,
                    seed,
                    0.9 + 0.01 * fold + 0.001 * seed,
                    settings={"dataset.load.fold": fold},
                    result={"data_digest": f"fold{fold}"},
                )
    assert warnings_about(tmp_path, "versions of the data") == []
