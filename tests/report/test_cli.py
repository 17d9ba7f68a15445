"""The command line: answers, files, and messages about mistakes."""

import copy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from compare.helpers import write_run, write_seeds

from normlab.config.composition import compose_config, plain_config
from normlab.report import cli

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "compare.py"
NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


@pytest.fixture
def write_planned(tmp_path):
    """write_planned(size, seed, value): a run as the study small_batches makes it."""
    composed = plain_config(compose_config(["study=small_batches"]))
    names = ("group", "task", "trainer", "dataset", "model", "norm", "optimizer")
    blocks = {}
    for name in (*names, "scheduler", "device", "cache_features"):
        blocks[name] = composed[name]

    def write(size, seed, value):
        settings = copy.deepcopy(blocks) | {"norm.size": size}
        write_run(tmp_path / "outputs", "ghost", seed, value, settings=settings)

    return write


@pytest.fixture
def group(tmp_path):
    return write_seeds(
        tmp_path,
        {"none": NONE, "custom": [value + 0.01 for value in NONE]},
        curve=[0.5, 0.9],
    )


def test_table_and_sentence(group, capsys):
    cli.main([str(group), "--target", "val/accuracy=0.8"])
    printed = capsys.readouterr().out
    assert (
        "• custom does better than none: its test/accuracy is 0.0100 higher" in printed
    )
    assert "Time to val/accuracy 0.8" in printed
    assert "--out DIR writes the report" in printed


def test_chosen_rates_are_tested_on_other_seeds(tmp_path, capsys):
    for norm, best in (("none", 0.1), ("custom", 1.0)):
        for lr in (0.1, 1.0):
            for seed in range(4):
                if seed >= 2 and lr != best:
                    continue  # the seeds of the test have runs at the best rates only
                value = 0.9 + 0.01 * (lr == best) + 0.001 * seed
                settings = {"optimizer.lr": lr}
                write_run(tmp_path, norm, seed, value, settings=settings)
    options = [str(tmp_path), "--select", "optimizer.lr"]
    cli.main([*options, "--confirm", "2,3"])
    printed = capsys.readouterr().out
    assert "1 for custom (2 values tried), 0.1 for none (2 values tried); " in printed
    assert "these seeds had no part in the choice" in printed
    with pytest.raises(SystemExit):
        cli.main(options)
    printed = capsys.readouterr().err
    assert printed.startswith("error: --select must have a complete grid from which")
    assert "choose without them by --incomplete" in printed.replace("\n", " ")
    cli.main([*options, "--incomplete"])
    assert "custom lacks 2 of 8 runs" in capsys.readouterr().out


def test_files(group, tmp_path, capsys):
    out = tmp_path / "out"
    cli.main([str(group), "--margin", "0.02", "--out", str(out)])
    names = {path.name for path in out.iterdir()}
    tables = {
        f"{name}.{kind}"
        for name in ("arms", "contrasts")
        for kind in ("csv", "md", "tex")
    }
    page = {"report.html", "report.files.json"}
    assert names == tables | page | {"runs.csv", "figures"}
    assert {path.stem for path in (out / "figures").iterdir()} == {
        "arms",
        "pairs",
        "learning_curves",
    }
    assert pd.read_csv(out / "contrasts.csv")["difference"].tolist() == pytest.approx(
        [0.01]
    )
    assert str(out / "report.html") in capsys.readouterr().out
    assert not list(group.glob("report.html"))


def test_the_report_of_a_study_goes_through_no_link(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    write_run(tmp_path / "outputs" / "small_batches", "ghost", 0, 0.9)
    link = tmp_path / "outputs" / "small_batches" / "report"
    link.symlink_to(precious)
    with pytest.raises(SystemExit) as end:
        cli.main(["--study", "small_batches"])
    assert end.value.code == 2
    assert "report must not be a link" in capsys.readouterr().err
    assert list(precious.iterdir()) == []


def test_figures_are_not_written_through_a_link(group, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "arms.csv").write_text("old")
    (out / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as end:
        cli.main([str(group), "--out", str(out)])
    assert end.value.code == 2
    assert "figures must not be a link" in capsys.readouterr().err
    assert (out / "arms.csv").read_text() == "old"


def test_a_study_answers_and_writes_its_report(
    write_planned, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for size, value in ((64, 0.97), (32, 0.97), (2, 0.93)):
        for seed in range(10):
            write_planned(size, seed, value + 0.0001 * (seed % 4 - size % 3))
    cli.main(["--study", "small_batches"])
    printed = capsys.readouterr().out
    assert "\nsupported\n" in printed
    assert (
        "30 of 60 planned runs are missing: "
        "norm.size=16 seed=0,1,2,3,4,5,6,7,8,9; norm.size=8 " in printed
    )
    page = (
        tmp_path / "outputs" / "small_batches" / "report" / "report.html"
    ).read_text()
    assert "Do statistics over fewer samples make batch norm worse?" in page
    # These runs do not carry the plan, so nobody knows when the rule was written.
    assert "The rule; the runs do not store when it was written: supported if" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a folder of runs"),
        (["{group}/nowhere"], "does not exist"),
        (
            ["{group}", "--metric", "test/acc"],
            "no metric 'test/acc'; did you mean test/accuracy",
        ),
        (["{group}", "--by", "lr"], "no setting 'lr'; did you mean optimizer.lr?"),
        (["{group}", "--within", "modle"], "did you mean model"),
        (["{group}", "--baseline", "nobody"], "no arm 'nobody'"),
        (["{group}", "--target", "fast"], "--target must be METRIC=VALUE"),
        (["{group}", "--select", "optimizer.lrr"], "did you mean optimizer.lr"),
        (
            ["{group}", "--heatmap", "seed", "modle", "--out", "{group}/out"],
            "did you mean model",
        ),
        (
            ["{group}", "--heatmap", "seed", "seed", "--out", "{group}/out"],
            "--heatmap must name two different settings",
        ),
        (
            ["{group}", "--heatmap", "seed", "model"],
            "--heatmap draws a figure: name its folder with --out",
        ),
        (["{group}", "--out", SCRIPT], "compare.py is a file"),
        (["{group}", "--out", f"{SCRIPT}/deep/below"], "compare.py is a file"),
        (["{group}", "--out", "/proc/report"], "cannot be written to"),
        (["{group}", "--by", " , "], "--by must name a setting"),
        (
            ["{group}", "--by", "seed"],
            "--by must name a setting that changes what is trained; "
            "seed only repeats it",
        ),
        (
            ["--study", "small_batches", "--metric", "val/loss", "--level", "0.2"],
            "leave out --metric --level",
        ),
        (
            ["--study", "small_batches", "--by", "norm", "--arms", "a"],
            "leave out --by --arms",
        ),
        (["--study", "smal_batches"], "did you mean 'small_batches'?"),
        (
            ["--study", "small_batches", "{group}/nowhere"],
            "python train.py -m study=small_batches",
        ),
    ],
)
def test_mistakes_take_two_lines_at_most(group, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument).format(group=group) for argument in arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.startswith("error: ")
    assert len(error.strip().splitlines()) <= 2


def test_one_seed_and_other_versions_are_mistakes(tmp_path, capsys):
    for folder, runs, message in (
        (tmp_path / "one", {"none": [0.9], "custom": [0.91]}, "at least two runs"),
        (tmp_path / "new", {"none": [0.9, 0.91]}, "schema 2, this normlab reads 1"),
    ):
        write_seeds(folder, runs, schema=2 if folder.name == "new" else 1)
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(folder)])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys, runpy\nsys.argv = ['compare.py', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'scipy', 'matplotlib', 'torch', 'rich', 'jinja2'}\n"
        "assert not heavy & set(sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert "--baseline" in shown


def test_times_to_the_target_are_written_with_every_digit(group, tmp_path):
    out = tmp_path / "out"
    cli.main([str(group), "--target", "val/accuracy=0.8", "--out", str(out)])
    table = pd.read_csv(out / "time_to_target.csv")
    assert table.columns[:6].tolist() == [
        "where",
        "arm",
        "clock",
        "runs",
        "reached",
        "median",
    ]
    assert table[table["clock"] == "epochs"]["median"].tolist() == [2, 2]


def test_blanks_between_settings_do_not_count(tmp_path, capsys):
    write_seeds(
        tmp_path, {"none": NONE, "custom": NONE}, settings={"optimizer.lr": 0.1}
    )
    cli.main([str(tmp_path), "--by", " norm, model,"])
    assert "test/accuracy by norm, model" in capsys.readouterr().out


def test_an_arm_called_zero_has_its_files(tmp_path):
    write_seeds(tmp_path / "runs", {"none": NONE}, settings={"optimizer.momentum": 0.9})
    write_seeds(
        tmp_path / "runs", {"none": NONE[::-1]}, settings={"optimizer.momentum": 0}
    )
    cli.main(
        [
            str(tmp_path / "runs"),
            *f"--by optimizer.momentum --baseline 0.9 --out {tmp_path}/out".split(),
        ]
    )
    assert "| arm | n |" in (tmp_path / "out" / "contrasts.md").read_text()
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("called", "program"),
    [
        ("bin/normlab-compare", "normlab-compare"),
        ("normlab compare", "normlab compare"),
        ("scripts/compare.py", "python scripts/compare.py"),
    ],
)
def test_the_command_calls_itself_what_it_was_called(
    group, tmp_path, monkeypatch, capsys, called, program
):
    monkeypatch.setattr(sys, "argv", [called])
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert f"usage: {program} [-h]" in shown
    assert f"  {program} --study custom_equals_torch" in shown
    cli.main([str(group), "--out", str(tmp_path / "out")])
    assert (
        f"\n{program} {group} --out " in (tmp_path / "out" / "report.html").read_text()
    )


def test_the_check_of_the_folder_leaves_nothing(group, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(
            [str(group), "--metric", "test/acc", "--out", str(tmp_path / "new" / "out")]
        )
    assert {path.name for path in tmp_path.iterdir()} == {group.name}


def test_a_study_leaves_out_what_it_did_not_plan(
    write_planned, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for size, value in ((64, 0.97), (32, 0.97), (2, 0.93), (128, 0.98)):
        for seed in range(10 if size < 128 else 2):
            write_planned(size, seed, value + 0.0001 * (seed % 4 - size % 3))
    cli.main(["--study", "small_batches"])
    printed = capsys.readouterr().out
    assert "\nsupported\n" in printed
    assert (
        "2 of 32 runs lie outside of the planned grid and are left out of the verdict: "
        "norm.size=128 in 2." in printed
    )
    page = (
        tmp_path / "outputs" / "small_batches" / "report" / "report.html"
    ).read_text()
    assert "2 of 32 runs lie outside of the planned grid" in page


@pytest.mark.parametrize(
    "words", [["--trust", "mine"], ["--try"], ["--config-dir", "conf"]]
)
def test_options_about_studies_need_a_study(group, capsys, words):
    with pytest.raises(SystemExit) as ending:
        cli.main([str(group), *words])
    assert ending.value.code == 2
    assert f"error: {words[0]} is for --study NAME" in capsys.readouterr().err
