"""The table of all runs: cells, details, origins, links."""

from compare.helpers import ENVIRONMENT, write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.report.run_table import make_run_table


def test_a_row_has_cells_details_and_a_link(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "a b", "none", seed, 0.9, settings={"optimizer.lr": 0.1})
        write_run(tmp_path / "a b", "custom", seed, 0.9, settings={"optimizer.lr": 0.5})
    runs = load_runs(tmp_path)
    table = make_run_table(runs, compare(runs, within=[]), tmp_path / "report")
    assert table.settings == ["norm", "seed", "status"]
    assert table.numbers == ["test/accuracy", "seconds"]
    (row,) = [row for row in table.rows if "norm=none seed=1" in row.text]
    assert row.settings == [("none", "none"), ("1", 1.0), ("finished", "finished")]
    assert row.numbers == [("0.9000", 0.9), ("1.0100", 1.01)]
    assert row.facts["optimizer.lr"] == "0.1"
    assert row.facts["val/accuracy"] == "0.8900"
    assert "norm.eps" not in row.facts  # this run has none
    assert row.text.endswith("norm=none seed=1 status=finished")
    assert row.link.startswith("../a%20b/demo/none-")


def test_every_origin_has_a_letter(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91], "custom": [0.9, 0.91]})
    other = ENVIRONMENT | {"platform": "Darwin", "command": ["train.py"]}
    write_run(tmp_path, "none", 2, 0.9, environment=other)
    runs = load_runs(tmp_path)
    table = make_run_table(runs, compare(runs), tmp_path)
    assert sorted(row.origin for row in table.rows) in (
        ["A"] * 4 + ["B"],
        ["A"] + ["B"] * 4,
    )
    assert {facts["platform"] for facts in table.origins.values()} == {
        "Linux",
        "Darwin",
    }
    assert not any("command" in facts for facts in table.origins.values())


def test_a_run_that_did_not_finish_says_why(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91]})
    write_run(tmp_path, "none", 2, None, "failed")
    runs = load_runs(tmp_path)
    table = make_run_table(runs, compare(runs), tmp_path)
    (failed,) = [row for row in table.rows if row.status == "failed"]
    assert failed.facts["reason"] == "RuntimeError: no"
    assert "test/accuracy" not in failed.facts
    assert failed.numbers[0][0] == "–"
