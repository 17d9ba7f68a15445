"""Studies: the shipped ones are complete, and their answers follow from the runs."""

import pytest
import yaml
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.config import stored_plan
from normlab.config.identity import configuration_directory
from normlab.config.study_plan import check_plan
from normlab.study.definition import Study, read_study
from normlab.study.plans import planned_runs
from normlab.study.verdict import answer
from study.helpers import NOISE, plan, planned_tables

NAMES = sorted(
    path.stem for path in (configuration_directory() / "study").glob("*.yaml")
)


def study(**claim) -> Study:
    return Study(
        "demo", plan(**claim), "demo", {"norm": "torch,custom", "seed": "range(10)"}
    )


def runs_with_gain(tmp_path, gain, seeds=10):
    for seed in range(seeds):
        write_run(tmp_path, "torch", seed, 0.95 + NOISE[seed])
        write_run(tmp_path, "custom", seed, 0.95 + gain - NOISE[seed])
    return load_runs(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_studies_are_complete(name, compose):
    found = read_study(name)
    keys = {key for run in planned_runs(found.params) for key in run}
    assert "seed" in keys
    config = compose(
        f"study={name}",
        *(f"{key}={value}" for key, value in next(planned_runs(found.params)).items()),
    )
    assert config.group == name
    assert config.study.question == found.plan["question"]


@pytest.mark.parametrize(
    ("name", "count"), [("custom_equals_torch", 80), ("small_batches", 60)]
)
def test_the_grid_is_counted(name, count):
    assert len(list(planned_runs(read_study(name).params))) == count


@pytest.mark.parametrize(
    ("expect", "gain", "verdict"),
    [
        ("equal", 0.0, "supported"),
        ("equal", 0.02, "contradicted"),
        ("equal", 0.0046, "cannot tell"),
        ("higher", 0.02, "supported"),
        ("higher", -0.02, "contradicted"),
        ("higher", 0.0, "contradicted"),  # equivalent to none within the margin
        ("lower", -0.02, "supported"),
    ],
)
def test_verdicts_follow_the_rule(tmp_path, expect, gain, verdict):
    whole, claims, warnings = answer(
        study(expect=expect, margin=0.005), runs_with_gain(tmp_path, gain)
    )
    assert (whole, claims[0].verdict) == (verdict, verdict)
    assert claims[0].reason
    assert warnings == [
        "The runs do not carry the study's plan: they were not started by it."
    ]


def test_a_difference_that_may_be_noise_cannot_tell(tmp_path):
    whole, _, _ = answer(study(expect="higher"), runs_with_gain(tmp_path, 0.0))
    assert whole == "cannot tell"


def test_too_few_seeds_cannot_tell_and_missing_runs_are_named(tmp_path):
    whole, claims, warnings = answer(
        study(expect="higher"), runs_with_gain(tmp_path, 0.02, seeds=7)
    )
    assert whole == "cannot tell"
    assert claims[0].reason == (
        "the study answers from 10 planned seeds; the first 7 are complete"
    )
    assert warnings[0].startswith(
        "6 of 20 planned runs are missing: norm=torch seed=7,8,9; norm=custom "
        "seed=7,8,9. "
    )
    assert "`python train.py -m study=demo` makes them" in warnings[0]


def test_a_verdict_waits_for_the_whole_plan(tmp_path):
    long = study(expect="equal", margin=0.005)
    long.params["seed"] = "range(20)"
    runs = runs_with_gain(tmp_path, 0.0)
    whole, claims, _ = answer(long, runs)
    assert (whole, claims[0].comparison.contrasts["n"][0]) == ("cannot tell", 10)
    assert claims[0].reason == (
        "the study answers from 20 planned seeds; the first 10 are complete"
    )


def test_planned_looks_share_the_level(tmp_path):
    for looks, seeds, level in (([10, 20], 12, 0.025), ([5, 10], 12, 0.025)):
        asked = study(expect="higher")
        asked.params["seed"] = "range(20)"
        asked.plan["looks"] = looks
        for seed in range(seeds):
            noise = NOISE[seed % 10]
            write_run(tmp_path, "torch", seed, 0.95 + noise)
            write_run(tmp_path, "custom", seed, 0.97 - noise)
        whole, claims, _ = answer(asked, load_runs(tmp_path))
        comparison = claims[0].comparison
        assert whole == "supported"
        # Of twelve seeds only those of the last planned look answer.
        assert (comparison.level, comparison.contrasts["n"][0]) == (level, 10)


def test_runs_that_diverged_or_failed_were_made(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "torch", seed, 0.95 + NOISE[seed])
        status = {0: "diverged", 1: "failed"}.get(seed, "finished")
        write_run(tmp_path, "custom", seed, 0.97 - NOISE[seed], status)
    asked = study(expect="higher")
    asked.plan["minimum_seeds"] = 9
    _, claims, _ = answer(asked, load_runs(tmp_path))
    assert (
        "1 of 10 runs of custom and 0 of 10 runs of torch diverged" in claims[0].reason
    )
    asked.plan["minimum_seeds"] = 10  # the failed run can be repeated
    _, claims, _ = answer(asked, load_runs(tmp_path))
    assert claims[0].reason == "custom against torch has 9 of 10 seeds"


@pytest.mark.parametrize("looks", [[], [10, 5], [0, 10], 10, ["a"], [5.5]])
def test_looks_must_be_increasing_numbers_of_seeds(looks):
    if looks == []:
        check_plan("demo", plan(expect="higher") | {"looks": None})
    with pytest.raises(ValueError, match="looks must be increasing numbers of seeds"):
        check_plan("demo", plan(expect="higher") | {"looks": looks})


def test_an_arm_without_runs_is_refused(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "torch", seed, 0.95 + NOISE[seed])
        write_run(tmp_path, "none", seed, 0.95)
    with pytest.raises(ValueError, match="no arm 'custom'"):
        answer(study(expect="higher"), load_runs(tmp_path))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"slope": "optimizer.lr"},
        {"interaction": {"optimizer.lr": [0.1, 0.2]}},
        {"largest_stable": "optimizer.lr"},
        {"at": {"largest_stable": "optimizer.lr", "of": "torch"}},
        {"control": True},
    ],
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": "norms"}, "the runs have no setting 'norms'; did you mean norm"),
        ({"metric": "test/accuracies"}, "the runs have no metric 'test/accuracies'"),
    ],
)
def test_a_claim_about_what_no_run_has_is_refused(tmp_path, asked, change, message):
    runs = runs_with_gain(tmp_path, 0.02)
    with pytest.raises(ValueError, match=message):
        answer(study(expect="higher", **asked, **change), runs)


def test_a_study_is_contradicted_by_one_claim(tmp_path):
    both = study(expect="higher", margin=0.005)
    both.plan["claims"].append({"says": "Or not.", "expect": "lower", "margin": 0.005})
    whole, claims, _ = answer(both, runs_with_gain(tmp_path, 0.02))
    assert [claim.verdict for claim in claims] == ["supported", "contradicted"]
    assert whole == "contradicted"


def test_largest_stable_rate_as_a_claim(tmp_path):
    for norm, largest in (("torch", 0.1), ("custom", 10.0)):
        for seed in range(10):
            for lr in (0.01, 0.1, 1.0, 10.0):
                fine = lr <= largest / (10 if norm == "custom" and seed == 3 else 1)
                status = "finished" if fine else "diverged"
                write_run(tmp_path, norm, seed, 0.95, status, {"optimizer.lr": lr})
    claim = study(expect="higher", largest_stable="optimizer.lr", tolerance=0.01)
    whole, claims, _ = answer(claim, load_runs(tmp_path))
    row = claims[0].comparison.contrasts.iloc[0]
    assert whole == "supported"
    assert row["difference"] == pytest.approx(
        1.9
    )  # nine seeds by a factor of 100, one by 10
    assert "a factor of 79.4" in row["sentence"]
    assert claims[0].reason.endswith(
        " Neighbouring values of optimizer.lr lie up to a factor of 10 apart, so each "
        "largest one is known to one such step."
    )
    assert (
        "custom: 9 of 10 seeds still train at the largest optimizer.lr tried, 10."
        in claims[0].comparison.warnings
    )


def write_planned(tmp_path, seeds, plan, **options):
    for norm in ("torch", "custom"):
        for seed in seeds:
            settings = {"study": plan, "choices.study": "demo"} | options
            write_run(tmp_path, norm, seed, 0.95 + NOISE[seed % 10], settings=settings)


def block_alone(count, num_runs):
    return (
        f"{count} of {num_runs} runs were started by a version that stored the study: "
        "block alone: whether grid or settings were changed since then is not known."
    )


def test_the_plans_of_all_runs_are_compared(tmp_path):
    asked = plan(expect="equal", margin=0.005)
    write_planned(tmp_path, range(5), asked)
    write_planned(
        tmp_path, range(5, 8), asked | {"metric": "val/accuracy", "level": 0.1}
    )
    for seed in (8, 9):
        write_run(tmp_path, "torch", seed, 0.95)
    asked = study(expect="equal", margin=0.005)
    _, claims, warnings = answer(asked, load_runs(tmp_path))
    assert claims[0].rule_origin.startswith("The rule of a plan that was changed")
    assert warnings[1:] == [
        "2 of 18 runs do not carry the study's plan: they were not started by it.",
        block_alone(16, 18),
        "The plan was changed after runs were started, and its verdict is exploratory: "
        "study.level was 0.1 in 6 of 18 runs and is not there; study.metric was "
        "val/accuracy in 6 of 18 runs and is test/accuracy.",
    ]


def test_runs_outside_of_the_grid_do_not_answer(tmp_path):
    asked = plan(expect="equal", margin=0.005)
    write_planned(tmp_path, range(16), asked)
    for seed in range(10):
        write_run(tmp_path, "none", seed, 0.5)
    whole, claims, warnings = answer(
        study(expect="equal", margin=0.005), load_runs(tmp_path)
    )
    comparison = claims[0].comparison
    assert whole == "supported"
    assert comparison.summaries[["arm", "n"]].to_numpy().tolist() == [
        ["torch", 10],
        ["custom", 10],
    ]
    assert warnings == [
        "22 of 42 runs lie outside of the planned grid and are left out of the "
        "verdict: norm=none in 10; "
        "seed=10,11,12,13,14,… (6 values) in 12. 12 of them were started by the study "
        "itself: if its grid was changed "
        "afterwards, and not only overridden on the command line, its verdict is "
        "exploratory.",
        block_alone(32, 32),
    ]


def test_a_data_set_outside_of_the_grid_does_not_answer(tmp_path):
    asked = study(expect="equal", margin=0.005)
    asked.params["dataset"] = "digits"
    asked.plan["within"] = ["dataset"]
    write_planned(tmp_path, range(10), asked.plan)
    for seed in range(10):
        write_run(tmp_path, "torch", seed, 0.5, settings={"choices.dataset": "mnist"})
        write_run(tmp_path, "custom", seed, 0.9, settings={"choices.dataset": "mnist"})
    whole, claims, warnings = answer(asked, load_runs(tmp_path))
    assert (whole, len(claims[0].comparison.contrasts)) == ("supported", 1)
    assert warnings == [
        "20 of 40 runs lie outside of the planned grid and are left out of the "
        "verdict: dataset=mnist in 20.",
        block_alone(20, 20),
    ]


def test_runs_that_deviate_from_the_plan_cannot_answer(tmp_path):
    write_planned(tmp_path, range(10), plan(expect="equal", margin=0.005))
    write_run(tmp_path, "none", 0, 0.9)
    asked = study(expect="equal", margin=0.005)
    settings = planned_tables(asked.params, **{"trainer.max_epochs": 9})
    whole, claims, _ = answer(asked, load_runs(tmp_path), settings)
    assert whole == "cannot tell"
    assert claims[0].reason.endswith("trainer.max_epochs is 5 instead of 9 in 20 of 20")


def test_a_study_without_planned_runs_says_what_is_missing(tmp_path):
    write_run(tmp_path, "none", 0, 0.9)
    with pytest.raises(
        ValueError,
        match=(
            r"1 of 1 runs lie outside .*norm=none in 1\.\n20 of 20 planned runs are "
            r"missing"
        ),
    ):
        answer(study(expect="higher"), load_runs(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": None}, "must state baseline in its study: block"),
        ({"metrc": "x"}, "unknown key 'metrc', did you mean 'metric'"),
        (
            {"claims": [{"says": "x", "expect": "same"}]},
            "every claim must have says and expect",
        ),
        (
            {"claims": [{"says": "x", "expect": "equal"}]},
            "a claim that expects equal must state its margin",
        ),
        (
            {"claims": [{"says": "x", "expect": "higher", "marign": 1}]},
            "unknown key 'marign', did you mean 'margin'",
        ),
    ],
)
def test_incomplete_studies_are_refused(tmp_path, monkeypatch, change, message):
    (tmp_path / "study").mkdir()
    content = {"study": plan(expect="higher") | change}
    (tmp_path / "study" / "demo.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(stored_plan, "configuration_directory", lambda: tmp_path)
    with pytest.raises(ValueError, match=message):
        read_study("demo")
    with pytest.raises(
        ValueError, match=r"no study 'dem' in conf/study, did you mean 'demo'\?"
    ):
        read_study("dem")


def tried(tmp_path, seeds, claim):
    for norm, value in (("torch", 0.9), ("custom", 0.8)):
        for seed in range(seeds):
            settings = {"study": plan(**claim) | {"try": True}, "choices.study": "demo"}
            write_run(
                tmp_path, norm, seed, value + NOISE[seed], settings=settings | SHORT
            )


SHORT = {"trainer.max_epochs": 1}


def test_a_trial_shows_numbers_and_gives_no_verdict(tmp_path):
    claim = {"expect": "higher"}
    tried(tmp_path, 2, claim)
    runs = load_runs(tmp_path)
    planned = planned_tables(study(**claim).params)
    verdict, claims, warnings = answer(study(**claim), runs, planned)
    assert (verdict, claims[0].verdict) == ("a trial", "a trial")
    assert claims[0].reason.startswith("4 short runs with 2 seeds show that the study")
    assert "python train.py -m study=demo" in claims[0].reason
    row = claims[0].comparison.contrasts.iloc[0]
    assert row["difference"] == pytest.approx(-0.1)
    assert warnings == []


def test_runs_of_a_trial_do_not_count_among_those_of_the_study(tmp_path):
    runs_with_gain(tmp_path / "study", 0.02)
    tried(tmp_path / "trial", 2, {"expect": "higher"})
    verdict, claims, warnings = answer(study(expect="higher"), load_runs(tmp_path))
    assert verdict == "supported"
    assert claims[0].comparison.contrasts.iloc[0]["n"] == 10
    assert warnings[0] == (
        "4 runs of a trial are left out; outputs/demo-try is their folder."
    )


OWN = """# @package _global_
# My question.
group: mine
study:
  question: Does it?
  by: norm
  baseline: torch
  metric: test/accuracy
  minimum_seeds: 10
  claims:
    - says: It does.
      arms: [custom]
      expect: higher
hydra:
  sweeper:
    params:
      norm: torch,custom
      seed: range(10)
"""


@pytest.fixture
def own_folder(tmp_path):
    (tmp_path / "my_conf" / "study").mkdir(parents=True)
    (tmp_path / "my_conf" / "study" / "mine.yaml").write_text(OWN)
    return tmp_path / "my_conf"


def test_a_study_of_ones_own_is_read_from_its_folder(own_folder):
    found = read_study("mine", own_folder)
    assert found.outputs.as_posix() == "outputs/mine"
    assert found.trial_outputs.as_posix() == "outputs/mine-try"
    command = f"python train.py --config-dir {own_folder} -m study=mine"
    assert found.command == command
    assert read_study("small_batches", own_folder).config_dir is None
    with pytest.raises(ValueError, match="no study 'mine' in conf/study.*--config-dir"):
        read_study("mine")
    with pytest.raises(ValueError, match="did you mean 'mine'"):
        read_study("mime", own_folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("group: mine\n", "", "must name the folder of its runs"),
        ("      seed: range(10)\n", "", "must have the grid of the study"),
        (
            "      seed:",
            "      callbacks: '[],[a]'\n      seed:",
            "must not vary callb",
        ),
        ("study:\n", "study: 3\nx:\n", "must have a study: block of keys, got 3"),
        (
            "  claims:\n    - says: It does.",
            "  claims: [a]\n  x:\n    - says: a",
            "list",
        ),
        ("group: mine", "group: [", "is not readable"),
        (OWN, "- a", "must hold the settings of a study"),
    ],
)
def test_a_study_of_ones_own_is_told_what_it_must_have(own_folder, old, new, message):
    path = own_folder / "study" / "mine.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        read_study("mine", own_folder)
    assert "mine.yaml" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
