"""The runs at a value that is relative to another arm's largest stable one."""

import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.study.definition import Study
from normlab.study.relative_rates import runs_at_rate
from normlab.study.verdict import answer
from study.helpers import NOISE, plan

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
AT = {"largest_stable": "optimizer.lr", "of": "torch", "times": 0.1}


def write_grid(outputs, largest, rates=RATES, seeds=3, **options):
    """torch trains up to a rate by seed, custom at all; both are best at 0.1."""
    for seed in range(seeds):
        stable = largest[seed % len(largest)]
        for rate in rates:
            trains = {"torch": rate <= stable, "custom": True}
            for norm, is_stable in trains.items():
                score = (0.9 if is_stable else 0.1) + NOISE[seed]
                settings = {"optimizer.lr": rate, **options}
                write_run(outputs, norm, seed, score, settings=settings)
    return load_runs(outputs)


def claim(**others):
    block = plan(expect="equal", margin=0.01, at=AT)
    return block | block["claims"][0] | others


@pytest.mark.parametrize(
    ("largest", "times", "value"),
    [
        ([0.3], 0.1, 0.03),
        ([0.3], 1, 0.3),
        ([0.1, 0.3, 0.3], 0.1, 0.03),  # the median
        ([0.1, 0.1, 1.0], 0.1, 0.01),
        ([0.3], 0.15, 0.03),  # 0.045: 0.03 is a factor of 1.5 away, 0.1 one of 2.2
        ([0.3], 0.02, 0.01),  # 0.006 is near enough
    ],
)
def test_runs_are_those_at_the_nearest_value(tmp_path, largest, times, value):
    runs = write_grid(tmp_path, largest)
    found = runs_at_rate(claim(at=AT | {"times": times}), runs)
    assert set(found.runs["optimizer.lr"]) == {value}
    assert set(found.runs["arm"]) == {"torch", "custom"}
    assert found.reason == ""
    assert found.note.startswith(
        f"All arms are compared at optimizer.lr={value:g}, the value nearest to "
        f"{times:g} times "
    )


def test_the_test_score_has_no_part_in_the_choice(tmp_path):
    for rate, validation, test in ((0.1, 0.9, 0.1), (1.0, 0.1, 0.9)):
        settings = {"optimizer.lr": rate}
        metrics = {"val/accuracy": validation, "test/accuracy": test}
        for norm in ("torch", "custom"):
            write_run(tmp_path, norm, 0, None, settings=settings, metrics=metrics)
    found = runs_at_rate(claim(at=AT | {"times": 1}), load_runs(tmp_path))
    assert set(found.runs["optimizer.lr"]) == {0.1}


def test_every_group_has_a_value_of_its_own(tmp_path):
    write_grid(tmp_path, [0.3])
    write_grid(tmp_path, [1.0], **{"choices.dataset": "mnist"})
    found = runs_at_rate(claim(within=["dataset"]), load_runs(tmp_path))
    pairs = set(zip(found.runs["dataset"], found.runs["optimizer.lr"], strict=True))
    assert pairs == {("digits", 0.03), ("mnist", 0.1)}
    assert "0.03 at dataset=digits" in found.note or "0.03 at digits" in found.note
    assert found.warnings == [
        "torch: 3 of 6 seeds still train at the largest optimizer.lr tried, 1."
    ]


def test_a_value_far_from_the_grid_is_no_answer(tmp_path):
    runs = write_grid(tmp_path, [0.3])
    found = runs_at_rate(claim(at=AT | {"times": 0.001}), runs)
    assert found.reason == "no value of optimizer.lr that was tried is near 0.0003"
    with pytest.raises(ValueError, match="at needs runs of ghost, and there are none"):
        runs_at_rate(claim(at=AT | {"of": "ghost"}), runs)


def test_an_arm_that_never_trains_is_no_answer(tmp_path):
    for seed in range(3):
        for rate in RATES:
            settings = {"optimizer.lr": rate}
            write_run(tmp_path, "torch", seed, 0.9, "diverged", settings=settings)
            write_run(tmp_path, "custom", seed, 0.9, settings=settings)
    found = runs_at_rate(claim(), load_runs(tmp_path))
    assert found.reason == "most seeds of torch train at no value of optimizer.lr"
    assert set(found.runs["optimizer.lr"]) == {0.01}


def test_a_study_answers_a_claim_at_a_relative_rate(tmp_path):
    """At 0.03 the arms are equal, at 0.3 custom is better."""
    rates = (0.03, 0.3, 1.0)
    for seed in range(10):
        for rate in rates:
            stable = 0.9 if rate <= 0.3 else 0.1
            gain = 0.05 if rate > 0.1 else 0.0
            settings = {"optimizer.lr": rate}
            noise = NOISE[seed]
            write_run(tmp_path, "torch", seed, stable + noise, settings=settings)
            score = stable + gain + NOISE[-seed - 1]
            write_run(tmp_path, "custom", seed, score, settings=settings)
    runs = load_runs(tmp_path)
    params = {
        "norm": "torch,custom",
        "optimizer.lr": ",".join(map(str, rates)),
        "seed": "range(10)",
    }
    for times, verdict in ((0.1, "supported"), (1, "contradicted")):
        block = plan(expect="equal", margin=0.01, at=AT | {"times": times})
        study = Study("demo", block, "demo", params)
        _, claims, _ = answer(study, runs)
        assert claims[0].verdict == verdict
        assert claims[0].reason.endswith(
            f"{times:g} times 0.3, the largest one at which torch trains (median over "
            "seeds)."
        )
    block = plan(expect="higher", at=AT | {"times": 0.0001})
    _, claims, _ = answer(Study("demo", block, "demo", params), runs)
    assert claims[0].verdict == "cannot tell"
    assert claims[0].reason.startswith(
        "no value of optimizer.lr that was tried is near"
    )
    value = plan(expect="equal", value=0.9, margin=0.01, at=AT, arms=["custom"])
    _, claims, _ = answer(Study("demo", value, "demo", params), runs)
    assert claims[0].verdict == "supported"
