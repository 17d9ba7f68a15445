"""Reports about results of other programs, by the command line."""

import re
from pathlib import Path

import pytest
from compare.helpers import write_seeds
from torch.utils.tensorboard import SummaryWriter

from normlab.metrics import higher_is_better
from normlab.report import cli

SLEEP = Path(__file__).parents[1] / "compare" / "results" / "sleep.csv"
OPTIONS = "--by group --metric extra --better higher --baseline 1"
ASKED = [str(SLEEP), *OPTIONS.split()]


def test_a_table_is_answered_like_runs(tmp_path, capsys):
    out = tmp_path / "out"
    cli.main([*ASKED, "--seed", "ID", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "Columns of sleep.csv (CSV file, 20 runs)" in printed
    assert re.search(
        r"ID +seed: runs of two arms with the same one are a pair", printed
    )
    assert "• 2 does better than 1: its extra is 1.5800 higher" in printed
    assert "! These results do not say whether the arms started from" in printed
    names = {path.stem for path in (out / "figures").iterdir()}
    assert names == {"arms", "pairs"}
    page = (out / "report.html").read_text()
    assert "Columns of sleep.csv" in page
    assert f"{SLEEP} --by group --metric extra --baseline 1 --seed ID" in page
    assert "A finished run is not trained again" not in page
    assert "config.yaml" not in page
    assert "share no seed, or their runs did not" not in page


def test_without_seeds_the_warning_says_so(capsys):
    cli.main([*ASKED, "--ignore", "ID"])
    printed = capsys.readouterr().out
    assert "! 2 and 1 have no seeds and are compared as independent runs." in printed
    assert "10 against 10 independent runs, p = 0.079" in printed
    assert re.search(r"ID +left out, as requested", printed)


def test_settings_are_named_as_in_the_file(tmp_path, capsys):
    rows = ["arm,group,seed,lr,acc"]
    for arm in "ab":
        for group in "xy":
            for seed in range(3):
                for lr in (0.1, 1.0):
                    gain = 0.1 * (arm == "a") - 0.01 * lr
                    rows.append(f"{arm},{group},{seed},{lr},{0.5 + gain + seed / 100}")
    path = tmp_path / "results.csv"
    path.write_text("\n".join(rows))
    cli.main(
        [
            str(path),
            *["--by", "arm", "--metric", "acc", "--within", "group", "--select", "lr"],
        ]
    )
    printed = capsys.readouterr().out
    assert "acc by Arm (higher is better)" in printed
    assert "Group=x" in printed
    assert "lr=0.1 has the best mean acc of the 2 values" in printed


def test_folders_of_tensorboard(tmp_path, capsys):
    for norm, gain in (("none", 0.0), ("batch", 0.25)):
        for seed in range(2):
            with SummaryWriter(tmp_path / norm / f"seed{seed}") as writer:
                writer.add_scalar("test/acc", 0.25 + gain + seed / 8, 1)
    (tmp_path / "none" / "seed9").mkdir()
    options = "--by norm --metric test/acc --layout {norm}/seed{seed}"
    cli.main([str(tmp_path), *options.split()])
    printed = capsys.readouterr().out
    assert "(TensorBoard folder, 4 runs)" in printed
    assert "! Of the values of test/acc, the last test/acc of every run" in printed


def test_better_is_for_runs_of_ours_too(tmp_path, capsys):
    for norm in ("none", "custom"):
        write_seeds(tmp_path, {norm: [0.5, 0.6]}, metrics={"test/quality": 1.0})
    asked = [str(tmp_path), "--metric", "test/quality"]
    cli.main(asked)
    assert "Lower test/quality is taken to be better" in capsys.readouterr().out
    cli.main([*asked, "--better", "higher"])
    printed = capsys.readouterr().out
    assert "test/quality by norm (higher is better)" in printed
    assert "is taken to be better" not in printed
    assert higher_is_better("test/quality")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(SLEEP)], "--by must name a column of"),
        ([str(SLEEP), "--by", "group"], "--metric must name a column of"),
        (ASKED[:5], "--better must be higher or lower: the name extra does not say"),
        ([*ASKED, "--seed", "id"], "no column 'id'; did you mean ID?"),
        (
            [*ASKED, "--seed", "ID", "--target", "acc=1"],
            "--target must be left out for",
        ),
        (
            ["{runs}", "--seed", "seed"],
            "leave out --seed, which is for results of",
        ),
        (
            ["{runs}", str(SLEEP), *ASKED[1:]],
            "compare either runs of normlab or results",
        ),
        (["results.txt", *ASKED[1:]], "must be a folder of runs"),
        (["--study", "small_batches", "--seed", "x"], "leave out --seed"),
    ],
)
def test_mistakes_take_two_lines_at_most(tmp_path, capsys, arguments, message):
    runs = write_seeds(tmp_path, {"none": [0.5, 0.6], "custom": [0.6, 0.7]})
    with pytest.raises(SystemExit) as stopped:
        cli.main([argument.replace("{runs}", str(runs)) for argument in arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert len(error.strip().splitlines()) <= 2
