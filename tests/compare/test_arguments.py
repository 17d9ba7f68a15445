"""The arguments of `compare`: what is refused, and what is chosen by default."""

import re

import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare import compare, load_runs
from normlab.report.tables import contrast_table

NONE = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.91, 0.92, 0.93, 0.94]
GAIN = [0.020, 0.018, 0.022, 0.019, 0.021, 0.020, 0.017, 0.023, 0.020, 0.020]
CUSTOM = [value + gain for value, gain in zip(NONE, GAIN, strict=True)]


def test_wrong_arguments_are_refused_with_a_hint(tmp_path):
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
            (
                "select must name a setting that changes what is trained; seed only "
                "repeats it"
            ),
        ),
        (
            {"select": "norm"},
            (
                "select must name a setting besides those that make the arms, and "
                "norm is in `by`"
            ),
        ),
    ):
        with pytest.raises(ValueError, match=message):
            compare(runs, **options)


def test_one_seed_per_arm_is_refused(tmp_path):
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


def test_runs_that_all_diverged_are_refused(tmp_path):
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


def test_repeated_names_count_once(tmp_path):
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


@pytest.fixture
def rates(tmp_path):
    for lr in (0.1, 0.01):
        write_seeds(
            tmp_path,
            {"none": NONE[:3], "custom": CUSTOM[:3]},
            settings={"optimizer.lr": lr},
        )
    return load_runs(tmp_path)


def test_the_default_baseline_begins_with_none(rates):
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


def test_seeds_make_no_groups(rates):
    with pytest.raises(
        ValueError,
        match="every arm must have at least two runs .* leave seed out of `within`",
    ):
        compare(rates, within=["optimizer.lr", "seed"])


def test_a_single_name_may_be_a_string(rates):
    found = compare(rates, by="norm", within="optimizer.lr", arms="custom")
    assert (found.within, found.contrasts["arm"].tolist()) == (
        ["optimizer.lr"],
        ["custom", "custom"],
    )


def test_a_margin_relative_to_a_missing_mean_is_left_out(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    write_seeds(tmp_path, {"none": NONE}, status="diverged")
    found = compare(load_runs(tmp_path), margin="5%")
    assert found.margins == {}
    assert (
        "The margin of 5% is left out: it is a share of none, which has no "
        "test/accuracy." in found.warnings
    )
    assert contrast_table(found).title == "Difference to none in test/accuracy"


def test_a_relative_margin_is_that_of_each_group(tmp_path):
    for lr, scale in ((0.1, 1), (0.2, 100)):
        arms = {
            "none": [scale * value for value in NONE],
            "custom": [scale * value for value in CUSTOM],
        }
        write_seeds(tmp_path, arms, settings={"optimizer.lr": lr})
    found = compare(load_runs(tmp_path), margin="5%")
    mean = sum(NONE) / len(NONE)
    expected = {"optimizer.lr=0.1": 0.05 * mean, "optimizer.lr=0.2": 5 * mean}
    assert found.margins == pytest.approx(expected)
    assert found.contrasts["margin"].tolist() == pytest.approx(list(expected.values()))
    table = contrast_table(found)
    assert table.title == "Difference to none in test/accuracy"
    shown = [row[table.columns.index("margin")][1] for row in table.rows]
    assert shown == pytest.approx(list(expected.values()))
    alone = compare(load_runs(tmp_path), margin=0.01)
    assert contrast_table(alone).title.endswith(", margin ±0.0100")


def test_a_share_of_a_mean_of_zero_is_no_margin(tmp_path):
    write_seeds(tmp_path, {"none": [-0.1, 0.1], "custom": [0.2, 0.3]})
    assert (
        "The margin of 5% is left out: it is a share of none, whose mean is 0."
        in compare(load_runs(tmp_path), margin="5%").warnings
    )
