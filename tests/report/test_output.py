"""A report in the terminal, and its files."""

import io

from compare.helpers import write_seeds
from rich.console import Console

from normlab.report.assembly import Extras, comparison_report
from normlab.report.output import print_report, write_files

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


def test_the_terminal_shows_tables_then_sentences_then_warnings(tmp_path):
    custom = [value + 0.01 for value in NONE]
    folder = write_seeds(tmp_path, {"none": NONE, "custom": custom})
    (folder / "[cut]").mkdir()
    (folder / "[cut]" / "config.yaml").write_text("seed: 0")
    report = comparison_report([folder], {}, Extras(figures=False))
    console = Console(file=io.StringIO(), width=200)
    print_report(report, console)
    shown = console.file.getvalue()
    parts = (
        "test/accuracy by norm (higher is better)",
        "Difference to none in test/accuracy",
        "• custom does better than none",
        "! 1 folder was left out: ",
    )
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    assert "/[cut] (no result.json" in shown  # not markup


def test_names_of_arms_are_no_markup_in_the_terminal(tmp_path):
    folder = write_seeds(tmp_path, {"[/x]": NONE, "[red]\x1b[2J": NONE})
    report = comparison_report([folder], {"baseline": "[/x]"}, Extras(figures=False))
    console = Console(file=io.StringIO(), width=200)
    print_report(report, console)
    shown = console.file.getvalue()
    assert "• [red]" in shown
    assert "[/x]" in shown
    assert "\x1b" not in shown


def test_a_report_is_a_page_and_files_with_every_digit(tmp_path):
    folder = write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    report = comparison_report([folder], {}, Extras(figures=False))
    page = write_files(report, tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    tables = [
        f"{name}.{kind}"
        for name in ("arms", "contrasts")
        for kind in ("csv", "md", "tex")
    ]
    names = [*tables, "report.files.json", "report.html", "runs.csv"]
    assert sorted(path.name for path in page.parent.iterdir()) == names


def test_a_report_has_no_files_of_an_earlier_one(tmp_path):
    folder = write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    page = write_files(comparison_report([folder], {}, Extras()), tmp_path / "out")
    assert (page.parent / "figures" / "arms.png").exists()
    told = []
    write_files(
        comparison_report([folder], {}, Extras(figures=False)), page.parent, told.append
    )
    assert list((page.parent / "figures").iterdir()) == []
    assert len(told) == 1
