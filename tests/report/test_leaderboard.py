"""Which arm reaches a target soonest, and whether that is a new record."""

import csv
from pathlib import Path

import numpy as np
import pytest
from compare.helpers import ENVIRONMENT, write_run

from normlab.compare import compare, load_runs
from normlab.report import cli
from normlab.report.leaderboard import (
    check_leaderboard,
    leaderboard_markdown,
    make_leaderboard,
    write_leaderboard,
)

EPOCHS = 12  # of 18 steps each
TARGET = "val/accuracy=0.5"


def write_arm(outputs, norm, epochs, milliseconds=2.0, **options):
    """A run per seed whose accuracy is 0.5 from this epoch on; never at 0."""
    for seed, first in enumerate(epochs):
        place = first or EPOCHS + 1
        curve = [0.1] * (place - 1) + [0.5] * (EPOCHS - place + 1)
        result = {"step_milliseconds": milliseconds}
        write_run(outputs, norm, seed, 0.5, curve=curve, result=result, **options)


def board_of(outputs, holder="custom"):
    comparison = compare(load_runs(outputs), "norm", baseline=holder)
    return make_leaderboard(comparison, TARGET)


@pytest.fixture
def four_arms(tmp_path):
    """ghost needs two thirds of the steps of custom, each of them twice as long."""
    write_arm(tmp_path, "custom", [6] * 10 + [9] * 10, 2.0)
    write_arm(tmp_path, "ghost", [4] * 10 + [6] * 10, 4.0)
    write_arm(tmp_path, "none", [6] * 10 + [9] * 10, 1.0)
    write_arm(tmp_path, "torch", [8] * 5 + [0] * 15, 1.0)
    return tmp_path


def test_rows_have_the_quartiles_of_steps_and_seconds(four_arms):
    rows = board_of(four_arms).rows
    assert rows.index.tolist() == ["ghost", "none", "custom", "torch"]
    steps = rows[["steps_low", "steps_median", "steps_high"]]
    assert steps.loc["custom"].tolist() == [108, 108, 162]
    assert steps.loc["ghost"].tolist() == [72, 72, 108]
    assert steps.loc["torch"].tolist() == [144, np.inf, np.inf]
    seconds = rows[["seconds_low", "seconds_median", "seconds_high"]]
    assert seconds.loc["custom"].tolist() == pytest.approx([0.216, 0.216, 0.324])
    assert seconds.loc["ghost"].tolist() == pytest.approx([0.288, 0.288, 0.432])
    assert rows[["runs", "reached"]].loc["torch"].tolist() == [20, 5]


def test_a_record_needs_a_faster_arm_by_the_test_of_pairs(four_arms):
    board = board_of(four_arms)
    verdicts = board.rows[["steps_verdict", "seconds_verdict"]]
    assert verdicts.loc["ghost"].tolist() == ["faster", "slower"]
    assert verdicts.loc["none"].tolist() == ["not told apart", "faster"]
    assert verdicts.loc["torch"].tolist() == ["slower", "not told apart"]
    assert verdicts.loc["custom"].tolist() == ["holds the record"] * 2
    assert board.rows.loc["ghost", "steps_ratio"] == pytest.approx(1.5)
    assert board.rows.loc["none", "seconds_ratio"] == pytest.approx(2.0)
    assert np.isnan(board.rows.loc["torch", "steps_ratio"])
    assert board.notes == [
        f"In {clock}, {arm} has a new record: it is shown to be faster than custom, "
        "which held it (20 pairs of runs with the same seed, p < 0.001 after Holm's "
        "correction)."
        for clock, arm in (("steps", "ghost"), ("seconds", "none"))
    ]


def test_nobody_takes_a_record_by_chance_or_with_few_seeds(tmp_path):
    write_arm(tmp_path / "few", "custom", [6] * 19)
    write_arm(tmp_path / "few", "ghost", [3] * 19)
    few = board_of(tmp_path / "few")
    assert few.rows.loc["ghost", "steps_verdict"] == "19 of 20 pairs"
    # Twelve wins and eight losses of one epoch: p is far above 0.05.
    write_arm(tmp_path / "chance", "custom", [6] * 20)
    write_arm(tmp_path / "chance", "ghost", [5] * 12 + [7] * 8)
    chance = board_of(tmp_path / "chance")
    assert chance.rows.index[0] == "ghost"
    assert chance.rows.loc["ghost", "steps_verdict"] == "not told apart"
    for board in (few, chance):
        assert board.notes[0] == (
            "In steps, the record of custom stands: no other arm is shown to be faster "
            "in 20 pairs or more."
        )


def test_runs_that_never_arrive_speak_against_a_record(tmp_path):
    # Sixteen wins; four runs that may take for ever are the largest losses.
    write_arm(tmp_path, "custom", [6] * 20)
    write_arm(tmp_path, "ghost", [5] * 16 + [0] * 4)
    row = board_of(tmp_path).rows.loc["ghost"]
    assert row["reached"] == 16
    assert row["steps_verdict"] == "not told apart"


def test_the_table_as_markdown(four_arms):
    lines = leaderboard_markdown(board_of(four_arms)).splitlines()
    assert lines[0].startswith("| arm | reached | steps (quartiles) | times as fast |")
    assert lines[2].startswith("| ghost | 20 of 20 | 72 (72 to 108) | 1.50 (1.50 to ")
    assert "| 0.29 (0.29 to 0.43) | 0.75 (0.75 to 0.75) | slower |" in lines[2]
    assert lines[5].startswith("| torch | 5 of 20 | never (144 to never) | – | slower")
    assert lines[7].startswith("Time to val/accuracy=0.5: median over seeds")


def test_the_command_writes_table_and_runs(four_arms, tmp_path, capsys):
    files = [tmp_path / "board.md", tmp_path / "board.csv"]
    words = ["--baseline", "custom", "--target", TARGET, "--leaderboard"]
    cli.main([str(four_arms), *words, *map(str, files)])
    assert "In steps, ghost has a new record" in capsys.readouterr().err
    assert "In steps, ghost has a new record" in files[0].read_text()
    with open(files[1], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80
    assert rows[0] == {
        "arm": "custom",
        "seed": "0",
        "status": "finished",
        "reached": "True",
        "steps": "108.0",
        "seconds": "0.216",
    }


def test_stacked_runs_have_no_seconds_of_their_own(tmp_path):
    write_arm(tmp_path, "custom", [6] * 2)
    write_arm(tmp_path, "ghost", [3] * 2)
    for seed in range(2):
        result = {"step_milliseconds": 2.0, "stacked": 2}
        write_run(tmp_path, "none", seed, 0.5, curve=[0.5], result=result)
    with pytest.raises(ValueError, match="and 2 of 6 runs do not have it, such as"):
        board_of(tmp_path)


def test_an_arm_without_curves_is_named(tmp_path):
    write_arm(tmp_path, "custom", [6] * 2)
    write_arm(tmp_path, "ghost", [3] * 2)
    for seed in range(2):
        write_run(tmp_path, "none", seed, 0.5, result={"step_milliseconds": 2.0})
    message = "needs val/accuracy in metrics.csv, no run of none has it; train them"
    with pytest.raises(ValueError, match=message):
        board_of(tmp_path)

    # It stands in nobody's way if it is not compared.
    two_arms = compare(load_runs(tmp_path), "norm", baseline="custom", arms=["ghost"])
    assert make_leaderboard(two_arms, TARGET).rows.index.tolist() == ["ghost", "custom"]


def test_failed_runs_are_counted_in_a_note(tmp_path):
    write_arm(tmp_path, "custom", [6] * 3)
    write_arm(tmp_path, "ghost", [3] * 3)
    for seed in (0, 2):
        write_run(tmp_path, "ghost", seed, None, status="failed")
    board = board_of(tmp_path)
    assert board.notes[2:] == [
        "2 of 6 runs failed (2 of ghost): pairs with them do not count among the 20 "
        "that a record needs."
    ]


def test_machines_that_differ_are_named_below_the_table(tmp_path):
    device = ENVIRONMENT["device"] | {"threads": 8}
    write_arm(tmp_path, "custom", [6] * 2)
    write_arm(tmp_path, "ghost", [3] * 2, environment=ENVIRONMENT | {"device": device})
    assert leaderboard_markdown(board_of(tmp_path)).endswith(
        "\n\nThe runs were made on different machines (threads 1, 8), which may "
        "explain differences in seconds.\n"
    )


def test_no_spreadsheet_takes_the_name_of_an_arm_for_a_formula(tmp_path):
    write_arm(tmp_path, "custom", [6] * 2)
    write_arm(tmp_path, "=1+1", [3] * 2)
    write_leaderboard(board_of(tmp_path), tmp_path / "board.csv")
    with open(tmp_path / "board.csv", newline="") as file:
        arms = {row["arm"] for row in csv.DictReader(file)}
    assert arms == {"custom", "'=1+1"}


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(four_arms, monkeypatch):
    path = four_arms / "board.md"
    path.write_text("former")
    board = board_of(four_arms)
    before = sorted(four_arms.iterdir())
    write = Path.write_text

    def half(path, text, **options):
        write(path, text[: len(text) // 2], **options)
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        write_leaderboard(board, path)
    assert path.read_text() == "former"
    assert sorted(four_arms.iterdir()) == before


def test_groups_of_runs_are_refused(tmp_path):
    for model in ("mlp", "vgg"):
        settings = {"choices.model": model}
        write_arm(tmp_path, "custom", [6] * 2, settings=settings)
        write_arm(tmp_path, "ghost", [3] * 2, settings=settings)
    with pytest.raises(ValueError, match="in arm and seed only, these differ in model"):
        board_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "target", "baseline", "message"),
    [
        ("a.md", None, "none", "leaderboard needs target"),
        ("a.md", TARGET, None, "and baseline, the arm that holds the record"),
        ("a.tex", TARGET, "none", "files that end in .md or .csv"),
        ("nowhere/a.md", TARGET, "none", "in a folder that exists; got"),
        ("folder.md", TARGET, "none", "must name files to write, got"),
    ],
)
def test_what_is_missing_is_said_first(tmp_path, name, target, baseline, message):
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(ValueError, match=message):
        check_leaderboard([Path(tmp_path, name)], target, baseline)
