"""Tables in the terminal, and as Markdown, LaTeX and CSV."""

import io
from pathlib import Path

import pandas as pd
import pytest
from compare.helpers import write_seeds
from rich.console import Console

from normlab.compare import compare, load_runs
from normlab.report.table_formats import (
    latex,
    markdown,
    print_table,
    write_tables,
)
from normlab.report.tables import Table, contrast_table, summary_table

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


@pytest.fixture
def comparison(tmp_path):
    write_seeds(
        tmp_path / "runs", {"none": NONE, "custom": [value + 0.01 for value in NONE]}
    )
    return compare(load_runs(tmp_path / "runs"))


def test_markdown_and_latex(comparison):
    table = contrast_table(comparison)
    assert table.columns[:5] == ["arm", "n", "difference", "95% interval", "verdict"]
    lines = markdown(table).splitlines()
    assert lines[0] == "**Difference to none in test/accuracy**"
    assert lines[2].startswith("| arm | n | difference | 95% interval |")
    assert lines[4].startswith(
        "| custom | 6 pairs | +0.0100 | +0.0100 to +0.0100 | better |"
    )
    text = latex(table)
    assert r"custom & 6 pairs & +0.0100" in text
    assert r"95\% interval" in text
    assert text.count(r"\\") == 2


def test_the_terminal_takes_names_literally(comparison):
    odd = comparison.summaries.assign(arm="[red]&_%")
    console = Console(file=io.StringIO(), width=200)
    table = summary_table(type(comparison)(**vars(comparison) | {"summaries": odd}))
    print_table(console, table)
    assert "[red]&_%" in console.file.getvalue()
    assert r"[red]\&\_\%" in latex(table)


def test_csv_keeps_every_digit(comparison, tmp_path):
    table = summary_table(comparison)
    paths = write_tables(tmp_path / "out", [table], {"arms": comparison.summaries})
    assert sorted(path.name for path in paths) == ["arms.csv", "arms.md", "arms.tex"]
    stored = pd.read_csv(tmp_path / "out" / "arms.csv")
    assert stored["mean"].tolist() == comparison.summaries["mean"].tolist()


def test_written_tables_have_no_formulas(tmp_path):
    frame = pd.DataFrame({"arm": ["=1+1", "none"], "mean": [-0.5, 0.25]})
    write_tables(tmp_path, [], {"summary": frame})
    assert (tmp_path / "summary.csv").read_text() == (
        "arm,mean\n'=1+1,-0.5\nnone,0.25\n"
    )
    frame = pd.DataFrame({"=1+1": [0.5], "norm.size": [2]})
    write_tables(tmp_path, [], {"runs": frame})
    assert (tmp_path / "runs.csv").read_text() == "'=1+1,norm.size\n0.5,2\n"


def test_a_title_has_one_line():
    table = Table("arms", "a\n\\input{x}\r b", ["arm"], [[("a", "a")]], [False])
    assert latex(table).splitlines()[0] == r"% a \input{x} b"
    assert latex(table).splitlines()[1].startswith("% needs")
    assert markdown(table).splitlines()[0] == r"**a \input{x} b**"


def test_a_narrow_terminal_gets_the_columns_that_matter_most(comparison):
    for width, there, not_there in (
        (200, "Hedges g", "no room"),
        (80, "p (Holm)", "Hedges g  "),
    ):
        console = Console(file=io.StringIO(), width=width)
        print_table(console, contrast_table(comparison))
        printed = console.file.getvalue()
        assert there in printed
        assert not_there not in printed
        assert "…" not in printed
        assert "+0.0100 to +0.0100" in printed
    assert "no room for r, Hedges g, p" in printed


@pytest.mark.parametrize(
    ("name", "owner", "method"),
    [("arms.md", Path, "write_text"), ("rows.csv", pd.DataFrame, "to_csv")],
)
def test_a_table_that_cannot_be_written_whole_stays_as_it_was(
    tmp_path, monkeypatch, name, owner, method
):
    def half(source, *arguments, **options):
        path = source if owner is Path else arguments[0]
        path.write_bytes(b"half")
        raise OSError("no space left")

    (tmp_path / name).write_text("former")
    monkeypatch.setattr(owner, method, half)
    tables = (
        [Table("arms", "", ["arm"], [[("a", "a")]], [False])] if owner is Path else []
    )
    with pytest.raises(OSError, match="no space left"):
        write_tables(tmp_path, tables, {"rows": pd.DataFrame({"a": [1]})})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "former"
