import json
import math

import pytest
from rich.text import Text

from normlab.sweeps.display import (
    SweepProgress,
    duration,
    job_line,
    print_plans,
    print_summary,
    seconds_to_go,
)
from normlab.sweeps.jobs import Job, over_seeds, short_names, varied_keys


def job(
    status="finished", accuracy=0.5, folder=None, seconds=1.0, start=None, **settings
):
    metrics = (
        {"val/accuracy": accuracy, "test/accuracy": accuracy}
        if status == "finished"
        else {}
    )
    reason = None if status == "finished" else "because"
    result = {
        "status": status,
        "metrics": metrics,
        "reason": reason,
        "seconds": seconds,
    }
    if start is not None:
        result |= dict(
            zip(
                ("initial_weights", "num_parameters", "num_norm_parameters"),
                start,
                strict=True,
            )
        )
    if folder is not None:
        result["run"] = "group/run"
    return Job(
        tuple(f"{key}={value}" for key, value in settings.items()), result, folder
    )


JOBS = [
    job(norm="none", seed=0, accuracy=0.25, epochs=2),
    job(norm="none", seed=1, accuracy=0.75, epochs=2),
    job(norm="custom", seed=0, accuracy=0.5, epochs=2),
    job("diverged", norm="custom", seed=1, epochs=2),
    job("failed", norm="ghost", seed=0, epochs=2, seconds=0.0),
]


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_only_what_varies_tells_jobs_apart():
    assert varied_keys(JOBS) == ["norm", "seed"]
    assert varied_keys(JOBS[:1]) == []


def test_names_are_short_where_that_is_unambiguous():
    assert short_names(["norm", "optimizer.lr", "+norm.size"]) == {
        "norm": "norm",
        "optimizer.lr": "lr",
        "+norm.size": "size",
    }
    assert short_names(["norm.momentum", "optimizer.momentum", "seed"]) == {
        "norm.momentum": "norm.momentum",
        "optimizer.momentum": "optimizer.momentum",
        "seed": "seed",
    }


def test_seeds_are_gathered_and_runs_without_a_number_stay_out_of_the_mean():
    assert over_seeds(JOBS, "test/accuracy") == [
        ({"norm": "none"}, [0.25, 0.75]),
        ({"norm": "custom"}, [0.5]),
        ({"norm": "ghost"}, []),
    ]


def test_the_summary_counts_shows_means_and_names_every_failed_job(capsys):
    print_summary(JOBS)
    text = capsys.readouterr().out
    assert lines(text)[0] == "5 runs: 3 finished, 1 diverged, 1 failed"
    assert (
        "0.5000   0.3536   0.2500   0.7500" in text
    )  # mean, SD, min, max of .25 and .75
    assert f"{math.sqrt(0.125):.4f}" == "0.3536"
    assert lines(text)[-1] == "failed  norm=ghost seed=0: because"


def test_arms_of_other_networks_are_named_and_their_parameters_shown(capsys):
    jobs = [
        job(norm="none", seed=0, start=("a", 1000, 0)),
        job(norm="custom", seed=0, start=("b", 1030, 20)),
        job("failed", norm="ghost", seed=0),
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


def test_arms_of_one_network_get_no_warning_and_no_column(capsys):
    print_summary(
        [job(norm=norm, seed=0, start=("a", 1000, 0)) for norm in ("none", "custom")]
    )
    text = capsys.readouterr().out
    assert "warning" not in text
    assert "parameters" not in text


def test_a_caution_names_the_arms_that_it_is_about(capsys):
    jobs = [
        job(norm=norm, seed=seed)
        for norm in ("none", "group", "layer")
        for seed in (0, 1)
    ]
    for one in jobs:
        one.result["cautions"] = ["a last batch of one sample is left out"]
        if one.settings["norm"] == "group":
            one.result["cautions"].append("there are 2 groups for 6 channels")
    print_summary(jobs)
    told = [
        line for line in lines(capsys.readouterr().out) if line.startswith("caution")
    ]
    assert told == [
        "caution  a last batch of one sample is left out",
        "caution  norm=group: there are 2 groups for 6 channels",
    ]


def test_a_failure_with_a_folder_says_where_its_traceback_is(tmp_path):
    failed = job("failed", norm="ghost", seed=3, folder=tmp_path)
    assert (
        failed.failure(["seed"]) == f"seed=3: because; see {tmp_path / 'traceback.txt'}"
    )
    assert failed.failure([]).startswith("norm=ghost seed=3: because; ")


def test_nothing_is_cut_where_the_output_is_no_terminal(capsys):
    long = {
        f"optimizer.an_option_with_a_long_name_{number}": number for number in range(8)
    }
    other = {key: value + 1 for key, value in long.items()}
    print_summary([job(**long), job(**other)])
    header = lines(capsys.readouterr().out)[2]
    assert all(f"an_option_with_a_long_name_{number}" in header for number in range(8))


def test_brackets_in_settings_and_reasons_are_no_markup(capsys):
    jobs = [
        job("failed", **{"dataset.normalize": f"[0,{number}]"}) for number in (1, 2)
    ]
    print_summary(jobs)
    assert "[0,2]" in capsys.readouterr().out
    assert Text.from_markup(job_line(jobs[0], 1, 2, ["dataset.normalize"])).plain == (
        "1/2  normalize=[0,1]  failed  because"
    )


def plain(line):
    return Text.from_markup(line).plain


def test_a_line_for_a_job():
    assert plain(job_line(JOBS[0], 3, 24, ["norm", "seed"])) == (
        " 3/24  norm=none seed=0  finished  test/accuracy 0.2500"
    )
    assert (
        plain(job_line(JOBS[4], 24, 24, ["norm"]))
        == "24/24  norm=ghost  failed  because"
    )


def test_a_job_is_reported_when_it_ends_with_the_time_left(capsys, monkeypatch):
    clock = iter(
        [0.0, 1.0, 12.0, 13.0, 14.0]
    )  # one stored, 9 s of imports, jobs of 2, 1 and 1 s
    monkeypatch.setattr("normlab.sweeps.display.time.monotonic", lambda: next(clock))
    with SweepProgress(["seed"], total=4, stored=1) as progress:
        progress.end(job(seed=0), was_stored=True)
        progress.end(job(seed=1, seconds=2.0))
        progress.end(job("failed", seed=2, seconds=0.0))
        progress.end(job(seed=3))
    first, second, third, last = capsys.readouterr().err.splitlines()
    assert first == "1/4  seed=0  finished  test/accuracy 0.5000"
    assert second.endswith("  4 s left")
    assert third == "3/4  seed=2  failed  because  2 s left"
    assert last.endswith("test/accuracy 0.5000")
    assert progress.failed == 1


class FakePlan:
    def __init__(self, state, folder, stored=None, **settings):
        self.state, self.folder, self.stored = state, folder, stored
        self.settings = {key: str(value) for key, value in settings.items()}


def test_a_dry_run_lists_jobs_states_and_folders(capsys, tmp_path):
    group = tmp_path / "group"
    (group / "a").mkdir(parents=True)
    result = {"status": "finished", "seconds": 30.0}
    (group / "a" / "result.json").write_text(json.dumps(result))
    plans = [
        FakePlan("done", group / "a", result, norm="torch", seed=0),
        FakePlan("interrupted", group / "b", norm="torch", seed=1),
        FakePlan("new", tmp_path / "other" / "c", norm="custom", seed=0),
    ]
    print_plans(plans, workers=2, excluded=1)
    assert lines(capsys.readouterr().out) == [
        "3 runs: 1 done, 1 interrupted, 1 new; 1 excluded",
        f"1  norm=torch seed=0   done         {group / 'a'}",
        f"2  norm=torch seed=1   interrupted  {group / 'b'}",
        f"3  norm=custom seed=0  new          {tmp_path / 'other' / 'c'}",
        "about 30 s left on 2 workers, by the runs that have finished; no estimate for other, where no run has "
        "finished yet",
    ]


def test_a_dry_run_of_one_run(capsys, tmp_path):
    print_plans([FakePlan("done", tmp_path, {"status": "diverged"})])
    assert lines(capsys.readouterr().out) == [
        "1 run: 1 done",
        f"1  done         {tmp_path}",
        "nothing left to train",
    ]


def test_time_left_goes_by_the_pace_so_far():
    assert seconds_to_go(10.0, 0, 4) is None
    assert seconds_to_go(10.0, 1, 4) == 30.0
    assert seconds_to_go(10.0, 4, 4) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45.2, "45 s"), (119.4, "119 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
