import math

from normlab.sweeps import Job, over_seeds, print_job, print_summary, varied_keys


def job(status="finished", accuracy=0.5, **settings):
    metrics = {"val/accuracy": accuracy, "test/accuracy": accuracy} if status == "finished" else {}
    reason = None if status == "finished" else "because"
    result = {"status": status, "metrics": metrics, "reason": reason, "seconds": 1.0}
    return Job(tuple(f"{key}={value}" for key, value in settings.items()), result)


JOBS = [
    job(norm="none", seed=0, accuracy=0.25, epochs=2),
    job(norm="none", seed=1, accuracy=0.75, epochs=2),
    job(norm="custom", seed=0, accuracy=0.5, epochs=2),
    job("diverged", norm="custom", seed=1, epochs=2),
    job("failed", norm="ghost", seed=0, epochs=2),
]


def test_only_what_varies_tells_jobs_apart():
    assert varied_keys(JOBS) == ["norm", "seed"]
    assert varied_keys(JOBS[:1]) == []


def test_seeds_are_gathered_and_runs_without_a_number_stay_out_of_the_mean():
    assert over_seeds(JOBS, "test/accuracy") == [
        ({"norm": "none"}, [0.25, 0.75]),
        ({"norm": "custom"}, [0.5]),
        ({"norm": "ghost"}, []),
    ]


def test_the_summary_shows_means_and_names_every_failed_job(capsys):
    print_summary(JOBS)
    text = capsys.readouterr().out
    assert "0.5000   0.3536   0.2500   0.7500" in text  # mean, SD, min, max of .25 and .75
    assert f"{math.sqrt(0.125):.4f}" == "0.3536"
    assert "failed  norm=ghost seed=0 epochs=2: because" in text
    assert text.count("diverged") == 1


def test_a_job_is_reported_when_it_ends(capsys):
    print_job(JOBS[0], 1, 4, seconds=2.0, keys=["norm", "seed"])
    print_job(JOBS[4], 4, 4, seconds=8.0, keys=["norm", "seed"])
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("1/4  norm=none seed=0  finished")
    assert first.endswith("6 s left")
    assert "failed" in last
    assert "because" in last
