"""Exports of W&B and MLflow, and MLflow's files."""

import math
from pathlib import Path

import pytest

from normlab.compare import compare, load_results
from normlab.compare.tracker_exports import find_mlflow_store

WANDB = (
    "Name,State,Notes,User,Tags,Created,Runtime,Sweep,lr,optimizer,seed,loss,test_acc"
)


def written(folder, lines, name="export.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_export_of_wandb(tmp_path):
    lines = [WANDB]
    for optimizer, gain in (("adam", 0.1), ("sgd", 0.0)):
        for seed in range(3):
            described = f"-,me,{optimizer},2026-01-0{seed + 1},{100 + seed},"
            values = f"0.1,{optimizer},{seed},0.5,{0.5 + gain + seed / 100}"
            lines.append(f"calm-{optimizer}-{seed},finished,{described},{values}")
    lines.append("odd,crashed,-,me,,2026-01-09,3,,0.1,sgd,3,,")
    lines.append("new,running,-,me,,2026-01-09,3,,0.1,sgd,4,,0.1")
    runs = load_results(written(tmp_path, lines), by="optimizer", metric="test_acc")
    assert runs.attrs["kind"] == "W&B export"
    roles = {name: role for name, role, _ in runs.attrs["columns"]}
    described = {"Name", "Notes", "User", "Tags", "Created", "Sweep"}
    texts = [roles[name] for name in described]
    assert texts == ["describes a run, not compared"] * len(described)
    assert roles["lr"] == "setting, the same in all runs"
    assert roles["Runtime"] == roles["loss"] == "measured, not compared"
    assert runs["run"].iloc[0] == "calm-adam-0"
    assert runs["status"].tolist() == ["finished"] * 6 + ["failed"]
    assert len(runs.attrs["unreadable"]) == 1
    summaries = compare(runs, "optimizer", "test_acc", baseline="sgd").summaries
    assert summaries["mean"].tolist() == pytest.approx([0.51, 0.61])


@pytest.mark.parametrize(
    "cells",
    [
        (
            "\"{'acc': 0.5, '_step': 9}\",\"{'opt': {'name': 'sgd'}, 'seed': 0}\"",
            "\"{'acc': nan}\",\"{'opt': {'name': 'sgd'}, 'seed': 1}\"",
        ),
        (
            '"{""acc"": 0.5}","{""opt"": {""name"": ""sgd""}, ""seed"": 0}"',
            '"{""acc"": NaN}","{""opt"": {""name"": ""sgd""}, ""seed"": 1}"',
        ),
    ],
)
def test_dictionaries_as_python_or_json_writes_them(tmp_path, cells):
    lines = ["summary,config,name", *(f"{cell},x{n}" for n, cell in enumerate(cells))]
    runs = load_results(written(tmp_path, lines), by="opt.name", metric="acc")
    assert runs["opt.name"].tolist() == ["sgd", "sgd"]
    assert runs["seed"].tolist() == [0, 1]
    assert runs["status"].tolist() == ["finished", "diverged"]


@pytest.mark.parametrize(
    "cell", ["{__import__('os').getcwd()}", "{'a': open('x')}", "{[1]: 2}"]
)
def test_nothing_in_a_dictionary_is_called(tmp_path, cell):
    path = written(tmp_path, ["summary,config", f'"{cell}",{{}}'])
    with pytest.raises(ValueError, match="summary in .* must be a dictionary of plain"):
        load_results(path, by="a", metric="acc")


def test_the_table_of_mlflow_search_runs(tmp_path):
    lines = [
        "run_id,experiment_id,status,metrics.acc,metrics.lr,params.lr,params.norm,"
        "params.seed,tags.mlflow.user"
    ]
    for seed in range(2):
        for norm in ("none", "batch"):
            lines.append(
                f"{norm}{seed},0,FINISHED,0.{seed + 1},0.05,0.1,{norm},{seed},me"
            )
    path = written(tmp_path, lines, "runs.csv")
    for metric, by in (("acc", "norm"), ("metrics.acc", "params.norm")):
        runs = load_results(path, by=by, metric=metric)
        assert runs["norm"].tolist() == ["none", "batch"] * 2
        assert runs["acc"].tolist() == [0.1, 0.1, 0.2, 0.2]
        assert runs["metrics.lr"].tolist() == [0.05] * 4
        assert runs["params.lr"].tolist() == [0.1] * 4
        assert runs.attrs["kind"] == "MLflow export"


def write_mlflow_run(experiment: Path, name: str, norm: str, seed: int, values: list):
    folder = experiment / f"{name}{norm}{seed}"
    for part in ("metrics/test", "params", "tags"):
        (folder / part).mkdir(parents=True)
    (folder / "meta.yaml").write_text(
        f"run_name: {name}\nstatus: 3\nlifecycle_stage: active\n"
    )
    lines = [f"{1000 + step} {value} {step}" for step, value in enumerate(values)]
    (folder / "metrics" / "test" / "acc").write_text("\n".join(lines))
    (folder / "params" / "norm").write_text(norm)
    (folder / "params" / "seed").write_text(str(seed))
    (folder / "tags" / "mlflow.user").write_text("me")
    return folder


def test_the_files_of_mlflow(tmp_path):
    experiment = tmp_path / "project" / "mlruns" / "123"
    for norm, gain in (("none", 0.0), ("batch", 0.25)):
        for seed in range(3):
            values = [0.1, 0.5 + gain, 0.25 + gain]
            write_mlflow_run(experiment, "calm", norm, seed, values)
    write_mlflow_run(experiment, "odd", "none", 3, [0.1, math.nan])
    (experiment / "meta.yaml").write_text("name: first\n")
    (tmp_path / "project" / "mlruns" / ".trash").mkdir()
    deleted = write_mlflow_run(experiment, "gone", "none", 4, [0.1])
    (deleted / "meta.yaml").write_text("status: 3\nlifecycle_stage: deleted\n")
    damaged = write_mlflow_run(experiment, "damaged", "none", 5, [0.1])
    (damaged / "metrics" / "test" / "acc").write_text("1 high\n")

    assert find_mlflow_store(tmp_path / "project").name == "mlruns"
    last = load_results(tmp_path / "project", by="norm", metric="test/acc")
    best = load_results(
        tmp_path / "project", by="norm", metric="test/acc", value="best"
    )
    finished = last[last["status"] == "finished"]
    assert finished.groupby("norm")["test/acc"].mean().to_dict() == {
        "batch": 0.5,
        "none": 0.25,
    }
    assert best[best["status"] == "finished"]["test/acc"].max() == 0.75
    assert last["status"].value_counts()["diverged"] == 1
    assert last["Experiment"].unique().tolist() == ["first"]
    reasons = dict(last.attrs["unreadable"])
    assert reasons[str(deleted)] == "it was deleted in MLflow"
    assert reasons[str(damaged)] == "metric test/acc has the line '1 high'"


def test_a_folder_without_runs_is_no_store(tmp_path):
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    assert find_mlflow_store(tmp_path) is None
