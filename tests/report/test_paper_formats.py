"""The table of a paper as LaTeX, Markdown and HTML."""

from pathlib import Path

import pytest
from compare.helpers import write_seeds

from normlab.report import cli
from normlab.report.paper_formats import (
    check_paper_paths,
    paper_html,
    paper_latex,
    paper_markdown,
)
from normlab.report.paper_table import PaperCell, PaperTable

TABLE = PaperTable(
    columns=["norm", "mlp_1 & <b>"],
    rows=[
        ("none", [PaperCell("0.1 ± 0.2")]),
        ("a|b", [PaperCell("0.3 ± 0.2", "best")]),
        ("50%", [PaperCell("−0.2 ± 0.2", "tied")]),
    ],
    caption="test_acc: mean ± half width.",
)


def test_latex():
    lines = paper_latex(TABLE).splitlines()
    assert lines[0] == r"% needs \usepackage{booktabs}"
    assert r"\caption{test\_acc: mean $\pm$ half width.}" in lines
    assert r"\begin{tabular}{lr}" in lines
    assert r"norm & mlp\_1 \& $<$b$>$ \\" in lines
    assert r"none & 0.1 $\pm$ 0.2 \\" in lines
    assert r"a|b & \textbf{0.3 $\pm$ 0.2} \\" in lines
    assert r"50\% & \underline{$-$0.2 $\pm$ 0.2} \\" in lines
    for rule in ("top", "mid", "bottom"):
        assert rf"\{rule}rule" in lines


def test_markdown():
    assert paper_markdown(TABLE).splitlines() == [
        "| norm | mlp_1 & <b> |",
        "| --- | ---: |",
        "| none | 0.1 ± 0.2 |",
        "| a\\|b | **0.3 ± 0.2** |",
        "| 50% | <ins>−0.2 ± 0.2</ins> |",
        "",
        "test_acc: mean ± half width.",
    ]


def test_html_escapes_names():
    text = paper_html(TABLE)
    assert '<th scope="col">mlp_1 &amp; &lt;b&gt;</th>' in text
    assert "<td><strong>0.3 ± 0.2</strong></td>" in text
    assert "<td><u>−0.2 ± 0.2</u></td>" in text
    assert "<caption>test_acc: mean ± half width.</caption>" in text


def test_the_command_writes_every_file_that_is_named(tmp_path, capsys):
    group = write_seeds(tmp_path / "runs", {"none": [0.5, 0.6], "custom": [0.7, 0.8]})
    files = [tmp_path / f"table{ending}" for ending in (".tex", ".md", ".html")]
    cli.main([str(group), "--paper", *map(str, files)])
    assert "| none |" in files[1].read_text()
    assert r"\toprule" in files[0].read_text()
    assert "<table>" in files[2].read_text()
    assert str(files[2]) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("table.doc", "paper must name a file that ends in .tex, .md, .html, got"),
        ("nowhere/table.tex", "paper must name a file in a folder that exists, got"),
    ],
)
def test_files_that_cannot_be_written_are_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        check_paper_paths([Path(tmp_path, name)])
