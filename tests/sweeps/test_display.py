import json
import math

import pytest

from normlab.sweeps.display import duration, print_jobs, print_summary, quantity

from .ended_jobs import ENDED, ended


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_summary_has_counts_means_and_failures(capsys):
    print_summary(ENDED)
    text = capsys.readouterr().out
    assert lines(text)[0] == "5 runs: 3 finished, 1 diverged, 1 failed"
    # mean, SD, min and max of 0.25 and 0.75
    assert "0.5000   0.3536   0.2500   0.7500" in text
    assert f"{math.sqrt(0.125):.4f}" == "0.3536"
    assert lines(text)[-1] == "failed  norm=ghost seed=0: because"


def test_a_score_that_is_not_finite_does_not_count_in_the_mean(capsys):
    values = (0.25, None, math.inf, 0.75)
    jobs = [ended(seed=seed, accuracy=value) for seed, value in enumerate(values)]
    print_summary(jobs)
    shown = [line.split() for line in lines(capsys.readouterr().out)]
    assert ["2", "0.5000", "0.3536", "0.2500", "0.7500"] in shown


def test_small_values_are_not_shown_as_zero(capsys):
    jobs = [ended(norm="none", seed=seed) for seed in (0, 1)]
    for job, error in zip(jobs, (1e-5, 3e-5), strict=True):
        job.result["metrics"] = {"test/rmse": error}
    print_summary(jobs)
    text = capsys.readouterr().out
    assert "2e-05   1.414e-05   1e-05   3e-05" in text
    assert "0.0000" not in text


def test_different_networks_get_a_warning_and_a_column(capsys):
    jobs = [
        ended(norm="none", seed=0, start=("a", 1000, 0)),
        ended(norm="custom", seed=0, start=("b", 1030, 20)),
        ended("failed", norm="ghost", seed=0),
    ]
    print_summary(jobs)
    text = capsys.readouterr().out
    assert [
        line.split()[-2]
        for line in lines(text)
        if line.split()[1:2] in (["finished"], ["failed"])
    ][:3] == [
        "1,000",
        "1,030",
        "–",
    ]
    assert (
        "warning  custom and none start from other weights in 1 of 1 pairs of runs."
        in lines(text)
    )
    assert any(
        line.startswith("warning  custom has 1,030 parameters, 20 of them the norm's")
        for line in lines(text)
    )


def test_equal_networks_get_no_warning_and_no_column(capsys):
    print_summary(
        [ended(norm=norm, seed=0, start=("a", 1000, 0)) for norm in ("none", "custom")]
    )
    text = capsys.readouterr().out
    assert "warning" not in text
    assert "parameters" not in text


def test_a_caution_names_the_arms_for_which_it_holds(capsys):
    jobs = [
        ended(norm=norm, seed=seed)
        for norm in ("none", "group", "layer")
        for seed in (0, 1)
    ]
    for one in jobs:
        one.result["cautions"] = ["a last batch of one sample is left out"]
        if one.settings["norm"] == "group":
            one.result["cautions"].append("there are 2 groups for 6 channels")
    print_summary(jobs)
    cautions = [
        line for line in lines(capsys.readouterr().out) if line.startswith("caution")
    ]
    assert cautions == [
        "caution  a last batch of one sample is left out",
        "caution  norm=group: there are 2 groups for 6 channels",
    ]


def test_lines_are_not_cut_if_the_output_is_no_terminal(capsys):
    long = {
        f"optimizer.an_option_with_a_long_name_{number}": number for number in range(8)
    }
    other = {key: value + 1 for key, value in long.items()}
    print_summary([ended(**long), ended(**other)])
    header = lines(capsys.readouterr().out)[2]
    assert all(f"an_option_with_a_long_name_{number}" in header for number in range(8))


def test_brackets_in_settings_are_not_taken_as_markup(capsys):
    jobs = [
        ended("failed", **{"dataset.normalize": f"[0,{number}]"}) for number in (1, 2)
    ]
    print_summary(jobs)
    assert "[0,2]" in capsys.readouterr().out


class FakeJob:
    def __init__(self, state, folder, stored=None, **settings):
        self.state, self.folder, self.stored_result = state, folder, stored
        self.settings = {key: str(value) for key, value in settings.items()}


def test_a_dry_run_lists_jobs_states_and_folders(capsys, tmp_path):
    group = tmp_path / "group"
    (group / "a").mkdir(parents=True)
    result = {"status": "finished", "seconds": 30.0}
    (group / "a" / "result.json").write_text(json.dumps(result))
    jobs = [
        FakeJob("done", group / "a", result, norm="torch", seed=0),
        FakeJob("interrupted", group / "b", norm="torch", seed=1),
        FakeJob("new", tmp_path / "other" / "c", norm="custom", seed=0),
    ]
    print_jobs(jobs, workers=2, excluded=1)
    assert lines(capsys.readouterr().out) == [
        "3 runs: 1 done, 1 interrupted, 1 new; 1 excluded",
        f"1  norm=torch seed=0   done         {group / 'a'}",
        f"2  norm=torch seed=1   interrupted  {group / 'b'}",
        f"3  norm=custom seed=0  new          {tmp_path / 'other' / 'c'}",
        "about 30 s left on 2 workers, by the runs that have finished; "
        "no estimate for other, where no run has finished yet",
    ]


def test_a_dry_run_of_one_run(capsys, tmp_path):
    print_jobs([FakeJob("done", tmp_path, {"status": "diverged"})])
    assert lines(capsys.readouterr().out) == [
        "1 run: 1 done",
        f"1  done         {tmp_path}",
        "nothing left to train",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45.2, "45 s"), (119.4, "119 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_quantity_has_a_plural_except_of_one():
    assert [quantity(number, "run") for number in (0, 1, 2)] == [
        *("0 runs", "1 run", "2 runs")
    ]
