"""The table of a paper as LaTeX, Markdown and HTML, by the ending of its file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from normlab.report.page import page_environment
from normlab.report.paper_table import BEST, TIED, PaperCell, PaperTable
from normlab.report.table_formats import latex_text, markdown_rows
from normlab.results import written_whole

HTML = """<table>
<caption>{{ table.caption }}</caption>
<thead><tr>
{% for name in table.columns %}
<th scope="col">{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for arm, cells in table.rows %}
<tr><th scope="row">{{ arm }}</th>
{% for cell in cells %}
{% if cell.mark == "best" %}
<td><strong>{{ cell.text }}</strong></td>
{% elif cell.mark == "tied" %}
<td><u>{{ cell.text }}</u></td>
{% else %}
<td>{{ cell.text }}</td>
{% endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
"""


def paper_latex(table: PaperTable) -> str:
    """A LaTeX table in the style of the package booktabs."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        _latex_line([latex_text(name) for name in table.columns]),
        r"\midrule",
    ]
    for arm, cells in table.rows:
        lines.append(_latex_line([latex_text(arm), *map(_latex_cell, cells)]))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: PaperCell) -> str:
    text = latex_text(cell.text)
    if cell.mark == BEST:
        return rf"\textbf{{{text}}}"
    if cell.mark == TIED:
        return rf"\underline{{{text}}}"
    return text


def paper_markdown(table: PaperTable) -> str:
    """A Markdown table with its caption below; underlined is `<ins>`."""
    rows = []
    for arm, cells in table.rows:
        rows.append([arm, *map(_markdown_cell, cells)])
    numeric = [False, *[True] * (len(table.columns) - 1)]
    return f"{markdown_rows(table.columns, rows, numeric)}\n\n{table.caption}\n"


def _markdown_cell(cell: PaperCell) -> str:
    if cell.mark == BEST:
        return f"**{cell.text}**"
    if cell.mark == TIED:
        return f"<ins>{cell.text}</ins>"
    return cell.text


def paper_html(table: PaperTable) -> str:
    """An HTML table, which a page can include; all names are escaped."""
    return page_environment().from_string(HTML).render(table=table) + "\n"


FORMATS: dict[str, Callable[[PaperTable], str]] = {
    ".tex": paper_latex,
    ".md": paper_markdown,
    ".html": paper_html,
}


def check_paper_paths(paths: Sequence[Path]) -> None:
    """Refuse files that have no known ending, or cannot be written.

    Raises:
        ValueError: names the file, and the endings that are known.
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise ValueError(
                f"paper must name a file that ends in {', '.join(FORMATS)}, got {path}"
            )
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise ValueError(
                f"paper must name a file in a folder that exists, got {path}"
            )


def write_paper_tables(tables: Sequence[PaperTable], path: Path) -> None:
    """Write the tables of all comparisons to one file, in the format of its ending."""
    make = FORMATS[path.suffix]
    with written_whole(path, follow_links=True) as temporary:
        temporary.write_text("\n".join(map(make, tables)), encoding="utf-8")
