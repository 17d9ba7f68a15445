"""The runs of a comparison over several tasks."""

import numpy as np
import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs
from normlab.compare.several_tasks import over_several_tasks

GAINS = {"none": 0.0, "custom": 0.02, "torch": 0.01}


def write_tasks(folder, count, arms=GAINS, seeds=2):
    for task in range(count):
        settings = {
            "choices.dataset": f"data{task // 2}",
            "choices.model": f"model{task % 2}",
            "group": f"task{task}",
        }
        for norm in arms:
            for seed in range(seeds):
                value = 0.5 + 0.04 * task + arms[norm] + 0.002 * seed
                write_run(folder, norm, seed, value, settings=settings)


def test_too_few_tasks_have_ranks_and_no_verdict(tmp_path):
    write_tasks(tmp_path, 3)
    found = over_several_tasks(compare(load_runs(tmp_path)))
    assert found.across == ["dataset", "model"]
    assert found.needed == 7
    assert found.arms["arm"].tolist() == ["custom", "torch", "none"]
    assert found.arms["rank"].tolist() == [1, 2, 3]
    assert found.arms["verdict"].tolist() == ["cannot tell", "cannot tell", ""]
    assert found.arms["p_holm"].isna().all()


def test_enough_tasks_have_a_verdict(tmp_path):
    write_tasks(tmp_path, 7)
    found = over_several_tasks(compare(load_runs(tmp_path)))
    verdicts = dict(zip(found.arms["arm"], found.arms["verdict"], strict=True))
    # z = 2 / sqrt(12 / 42) = 3.74 and half of it.
    assert verdicts == {"custom": "better", "torch": "not told apart", "none": ""}
    p = found.arms.set_index("arm")[["p", "p_holm"]].to_dict("index")
    expected = {"p": 0.000183, "p_holm": 2 * 0.000183}
    assert p["custom"] == pytest.approx(expected, abs=1e-6)
    assert p["torch"] == pytest.approx({"p": 0.061369, "p_holm": 0.061369}, abs=1e-6)
    assert np.isnan(list(p["none"].values())).all()
    # From 0 for the worst run of a task to 1 for its best, 0.022 apart.
    (scores,) = {tuple(np.round(each, 6)) for each in found.scores["torch"]}
    assert scores == pytest.approx((0.010 / 0.022, 0.012 / 0.022), abs=1e-5)


def test_lower_may_be_better(tmp_path):
    write_tasks(tmp_path, 2)
    for path in tmp_path.rglob("result.json"):
        path.write_text(path.read_text().replace("test/accuracy", "test/loss"))
    found = over_several_tasks(compare(load_runs(tmp_path), metric="test/loss"))
    assert found.arms["arm"].tolist() == ["none", "torch", "custom"]


def test_lost_runs_count_as_the_worst(tmp_path):
    write_tasks(tmp_path, 2, seeds=4)
    settings = {"choices.dataset": "data0", "choices.model": "model0", "group": "task0"}
    for seed in range(4, 10):
        write_run(tmp_path, "custom", seed, 0.9, "diverged", settings=settings)
    found = over_several_tasks(compare(load_runs(tmp_path)))
    first, second = found.scores["custom"]
    assert sorted(first)[:6] == [0] * 6
    assert len(second) == 4
    assert found.ranking.mean_ranks.to_dict() == {
        "none": 3,
        "custom": 1.5,
        "torch": 1.5,
    }


def test_tasks_without_an_arm_are_left_out(tmp_path):
    write_tasks(tmp_path, 4)
    settings = {"choices.dataset": "new", "choices.model": "model0", "group": "new"}
    for seed in range(2):
        write_run(tmp_path, "none", seed, 0.7, settings=settings)
    found = over_several_tasks(compare(load_runs(tmp_path)))
    assert len(found.tasks) == 4
    assert found.left_out == ["dataset=new, model=model0"]


def test_tasks_are_made_by_the_named_settings(tmp_path):
    write_tasks(tmp_path, 4)
    comparison = compare(load_runs(tmp_path))
    found = over_several_tasks(comparison, ["dataset"])
    assert found.tasks == ["dataset=data0", "dataset=data1"]
    assert [len(each) for each in found.scores["none"]] == [4, 4]
    with pytest.raises(ValueError, match="optimizer"):
        over_several_tasks(comparison, ["optimizer"])


def test_one_task_or_one_arm_is_nothing_to_rank(tmp_path):
    write_tasks(tmp_path / "one", 1)
    comparison = compare(load_runs(tmp_path / "one"))
    assert over_several_tasks(comparison) is None
    with pytest.raises(ValueError, match="across must name settings that vary"):
        over_several_tasks(comparison, ["dataset"])
    write_tasks(tmp_path / "arm", 3, {"none": 0.0})
    assert over_several_tasks(compare(load_runs(tmp_path / "arm"))) is None


def test_equal_scores_in_another_order_share_a_rank(tmp_path):
    first = [0.486, 0.889, 0.934, 0.358, 0.572, 0.322, 0.594, 0.338]
    second = [0.322, 0.889, 0.486, 0.338, 0.358, 0.594, 0.934, 0.572]
    for task in range(2):
        settings = {"choices.dataset": f"data{task}", "group": f"task{task}"}
        for norm, values in (("none", first), ("custom", second)):
            for seed, value in enumerate(values):
                write_run(tmp_path, norm, seed, value, settings=settings)
    found = over_several_tasks(compare(load_runs(tmp_path)))
    assert found.arms["rank"].tolist() == [1.5, 1.5]
    assert found.ranking.p["custom"] == 1


def test_a_task_in_which_all_runs_are_alike_has_scores_in_the_middle(tmp_path):
    for task in range(2):
        settings = {"choices.dataset": f"data{task}", "group": f"task{task}"}
        for norm in ("none", "custom"):
            for seed in range(2):
                write_run(tmp_path, norm, seed, 0.7, settings=settings)
    found = over_several_tasks(compare(load_runs(tmp_path)))
    for scores in found.scores.values():
        assert np.concatenate(scores).tolist() == [0.5] * 4
