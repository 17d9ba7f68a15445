import json

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from normlab.config.identity import configuration_directory, digest
from normlab.sweeps.composer import Composer, composed
from normlab.sweeps.grid import combinations
from normlab.sweeps.jobs import Plan, seconds_left


def combined(*words, together=(), excluded=()):
    jobs, left_out = combinations(
        OverridesParser.create().parse_overrides(list(words)), together, excluded
    )
    return [" ".join(job) for job in jobs], left_out


def test_every_combination_the_last_axis_fastest():
    jobs, left_out = combined(
        "norm=none,torch", "seed=range(2)", "trainer.max_epochs=3"
    )
    assert jobs == [
        "norm=none seed=0 trainer.max_epochs=3",
        "norm=none seed=1 trainer.max_epochs=3",
        "norm=torch seed=0 trainer.max_epochs=3",
        "norm=torch seed=1 trainer.max_epochs=3",
    ]
    assert left_out == 0


def test_of_a_repeated_key_the_later_one_holds():
    assert combined("seed=range(3)", "norm=torch", "seed=7,8")[0] == [
        "seed=7 norm=torch",
        "seed=8 norm=torch",
    ]


def test_zipped_keys_advance_together_where_the_first_of_them_stands():
    jobs, left_out = combined(
        "norm=none,torch",
        "seed=0,1",
        "optimizer.lr=0.1,1",
        together=[["norm", "optimizer.lr"]],
    )
    assert jobs == [
        "norm=none optimizer.lr=0.1 seed=0",
        "norm=none optimizer.lr=0.1 seed=1",
        "norm=torch optimizer.lr=1 seed=0",
        "norm=torch optimizer.lr=1 seed=1",
    ]
    assert left_out == 0


def test_two_groups_of_zipped_keys_are_combined():
    words = ["a=1,2", "b=3,4", "c=5,6", "d=7,8"]
    assert combined(*words, together=[["a", "c"], ["d", "b"]])[0] == [
        "a=1 c=5 d=7 b=3",
        "a=1 c=5 d=8 b=4",
        "a=2 c=6 d=7 b=3",
        "a=2 c=6 d=8 b=4",
    ]


def test_excluded_combinations_are_left_out_by_value_not_by_spelling():
    jobs, left_out = combined(
        "norm=none,torch",
        "optimizer.lr=0.1,1",
        "seed=0,1",
        excluded=[{"norm": "none", "optimizer.lr": 1.0}],
    )
    assert left_out == 2
    assert len(jobs) == 6
    assert not any(job.startswith("norm=none optimizer.lr=1 ") for job in jobs)


def test_a_key_that_hydra_adds_is_named_without_its_plus():
    jobs, left_out = combined("+norm.size=2,4", "seed=0,1", excluded=[{"norm.size": 4}])
    assert jobs == ["+norm.size=2 seed=0", "+norm.size=2 seed=1"]
    assert left_out == 2


def test_zip_and_exclude_together():
    jobs, left_out = combined(
        "a=1,2", "b=3,4", together=[["a", "b"]], excluded=[{"b": 3}]
    )
    assert jobs == ["a=2 b=4"]
    assert left_out == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"together": [["norm", "optimizer.lrr"]]},
            "hydra.sweeper.zip names 'optimizer.lrr', which this sweep does not set, did you mean 'optimizer.lr'?; "
            "it sets norm, optimizer.lr, seed",
        ),
        (
            {"together": [["norm", "seed"]]},
            "hydra.sweeper.zip needs lists of equal length: norm has 2 values, seed has 3",
        ),
        (
            {"together": [["norm", "optimizer.lr"], ["norm"]]},
            "must name a key once, 'norm' came twice",
        ),
        (
            {"together": ["norm", "optimizer.lr"]},
            "must be a list of lists of keys, got 'norm' in it",
        ),
        ({"excluded": [{"nrom": "none"}]}, "hydra.sweeper.exclude names 'nrom'"),
        ({"excluded": ["norm"]}, "must be a list of {key: value}, got 'norm' in it"),
        ({"excluded": [{}]}, "must be a list of {key: value}, got {} in it"),
        (
            {"excluded": [{"norm": "none"}, {"norm": "torch"}]},
            "must leave a job, it leaves none of 12",
        ),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError) as error:
        combined("norm=none,torch", "optimizer.lr=0.1,1", "seed=range(3)", **options)
    assert message in str(error.value)


def test_a_range_of_real_numbers_is_for_a_search():
    with pytest.raises(
        ValueError, match=r"optimizer.lr=interval\(0.1,1\) has no values to list"
    ):
        combined("optimizer.lr=interval(0.1,1)")


@pytest.fixture(scope="module")
def sweep():
    """sweep(*Hydra's own overrides) -> what composes the jobs."""
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):

        def start(*overrides):
            loader = GlobalHydra.instance().config_loader()
            master = loader.load_configuration(
                "config", list(overrides), run_mode=RunMode.MULTIRUN
            )
            HydraConfig.instance().set_config(master)
            return loader, master

        yield start
        HydraConfig.instance().cfg = None


def as_hydra_does(loader, master, overrides):
    config = loader.load_sweep_config(master, overrides)
    HydraConfig.instance().set_config(config)
    plain = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return OmegaConf.to_container(OmegaConf.create(plain), resolve=True)


def test_jobs_that_share_a_composition_have_the_configuration_that_hydra_gives_them(
    sweep, tmp_path
):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    mine = "# @package _global_\ndefaults:\n  - override /optimizer: adam\ngroup: ${hydra:job.override_dirname}\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(mine)
    loader, master = sweep(f"hydra.searchpath=[file://{tmp_path / 'conf'}]")
    jobs = [
        ["norm=torch", "seed=1", "optimizer.lr=0.3"],
        ["seed=2", "norm=torch", "optimizer.lr=0.3"],
        ["optimizer.lr=0.3", "optimizer=adam", "optimizer.lr=0.2"],
        ["norm=ghost", "norm.size=4"],
        ["norm=group", "++norm.num_groups=2", "seed=3"],
        ["scheduler=step", "~scheduler.gamma"],
        ["dataset={batch_size:7}", "seed=4"],
        ["logger=[csv,tensorboard]", "seed=5"],
        ["experiment=mine", "seed=6"],
        ["experiment=mine", "seed=7", "model.dropout=0.5"],
    ]
    compose = Composer(loader, master)
    for job in jobs:
        assert compose(job) == as_hydra_does(loader, master, job), job
    assert compose(jobs[8])["group"] == "experiment=mine,seed=6"
    assert len(compose.bases) < len(jobs)


def test_one_job_does_not_change_the_next(compose_default):
    assert compose_default(["optimizer.lr=0.5", "seed=3"])["seed"] == 3
    assert compose_default(["optimizer.lr=0.5"])["seed"] == 0


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (["optimizer.lrr=1"], "Could not override 'optimizer.lrr'"),
        (["norm=torhc"], "Could not find 'norm/torhc'"),
    ],
)
def test_a_job_that_hydra_cannot_compose(sweep, job, message):
    loader, master = sweep()
    with pytest.raises(HydraException, match=message):
        composed(loader, master, job)


def test_a_job_whose_values_no_run_can_have(sweep):
    loader, master = sweep()
    with pytest.raises(
        ValueError, match="optimizer.lr must be a number above 0, got -1"
    ):
        composed(loader, master, ["optimizer.lr=-1"])


@pytest.fixture(scope="module")
def compose_default(sweep):
    return Composer(*sweep())


@pytest.fixture
def plan(compose_default, tmp_path):
    """plan(*overrides) -> the plan of a job of the default sweep."""
    return lambda *overrides: Plan(
        overrides, compose_default([*overrides, f"paths.outputs={tmp_path}"])
    )


def store(plan, status="finished", seconds=10.0):
    plan.folder.mkdir(parents=True)
    result = {
        "status": status,
        "metrics": {},
        "seconds": seconds,
        "config_digest": digest(plan.config),
    }
    (plan.folder / "result.json").write_text(json.dumps(result))


def test_a_plan_knows_its_settings(plan):
    assert plan("norm=torch", "optimizer.lr=0.5").settings == {
        "norm": "torch",
        "optimizer.lr": "0.5",
    }


@pytest.mark.parametrize(
    ("status", "state"),
    [("finished", "done"), ("diverged", "done"), ("failed", "failed")],
)
def test_a_run_that_has_ended(plan, status, state):
    store(plan("seed=1"), status)
    assert plan("seed=1").state == state
    assert plan("seed=1").stored["status"] == status
    assert plan("seed=2").state == "new"
    again = plan("seed=1", "rerun=true")
    assert (again.state, again.stored) == ("new", None)


def test_a_failed_run_is_trained_again_when_asked(plan):
    store(plan(), "failed")
    retried = plan("retry=failed")
    assert (retried.state, retried.stored) == ("failed", None)


def test_a_run_with_a_checkpoint_and_no_result_was_interrupted(plan):
    (plan().folder / "checkpoints").mkdir(parents=True)
    assert plan().state == "new"
    (plan().folder / "checkpoints" / "last.ckpt").touch()
    assert plan().state == "interrupted"
    assert plan("rerun=true").state == "new"


def test_a_damaged_result_is_none(plan):
    store(plan())
    (plan().folder / "result.json").write_text("{")
    assert plan().state == "new"
    assert seconds_left([plan()]) == (None, ["digits-mlp"])


def test_time_left_is_the_mean_of_the_group_for_every_run_without_a_result(plan):
    store(plan("seed=0"), seconds=10.0)
    store(plan("seed=1"), seconds=20.0)
    store(plan("seed=2"), "diverged", seconds=1000.0)
    waiting = [plan(f"seed={seed}") for seed in range(7)]
    assert seconds_left(waiting) == (4 * 15.0, [])
    assert seconds_left(waiting, workers=2) == (2 * 15.0, [])
    assert seconds_left(waiting[:4], workers=8) == (15.0, [])
    assert seconds_left(waiting[:3]) == (None, [])
    other = plan("dataset=diabetes", "model=tabular")
    assert seconds_left([*waiting[:4], other]) == (15.0, ["diabetes-tabular"])
