"""One self-contained page: the question, the verdict, the numbers, the figures, every run, how to do it again."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from urllib.parse import quote

import pandas as pd

from normlab.compare.comparison import Comparison, shared_settings
from normlab.compare.fairness import DIFFERENT, SAME, UNKNOWN, Check
from normlab.compare.runs import metric_columns, setting_columns
from normlab.compare.sentences import number
from normlab.compare.settings import setting_text
from normlab.report.figures import Drawing, inline_svg
from normlab.report.tables import Cell, Table

TONES = {
    "supported": "good",
    "better": "good",
    "contradicted": "bad",
    "worse": "bad",
    "equivalent": "same",
}
MARKS = {"good": "✓", "bad": "✗", "open": "?", "same": "≈"}
CHECK_TONES = {SAME: "good", DIFFERENT: "bad", UNKNOWN: "open"}
MOST_BOXES = 8
WIDE = 5.2  # inches; narrower figures stand beside each other
METHOD = """Every arm is summarized over the runs that finished; diverged runs are counted, not averaged. Intervals of
means are t intervals; a bias-corrected bootstrap stands beside them from ten runs. Arms that share seeds are compared
in pairs with the exact sign-flip permutation test, others with Welch's t test and a permutation test; folds with Nadeau
and Bengio's correction. Holm's correction covers all contrasts of a table. No p-value is given below six runs.
P(better) is Mann and Whitney's U / (n m) with a bootstrap interval, and a difference is called meaningful where it is
at least .75 and its interval lies above .5; equivalence is two one-sided t tests against the margin stated. r is the
correlation between arms over seeds: pairing helps only where it is positive."""


@dataclass(frozen=True)
class Section:
    """A part of the page about one comparison.

    Attributes:
        heading: the claim, or what is compared.
        comparison: the numbers.
        tables: shown in this order.
        drawings: shown below the tables.
        verdict: a word, and what it rests on; empty where nothing was claimed.
        rule: when the claim would be supported or contradicted.
        frames: the tables with every digit, by the name of their CSV file.
    """

    heading: str
    comparison: Comparison
    tables: list[Table]
    drawings: list[Drawing]
    verdict: str = ""
    reason: str = ""
    rule: str = ""
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All that the page says.

    Attributes:
        question: the title.
        verdict: of a study as a whole, or empty.
        sections: one a comparison.
        runs: every run that was read.
        warnings: what to know before believing it.
        command: the line that makes this page.
    """

    question: str
    verdict: str
    sections: list[Section]
    runs: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    command: str = ""


def write_report(report: Report, path: Path) -> Path:
    """Write the page; it needs no server, no network and no file beside it."""
    parts = {
        "Verdict": _verdict(report),
        "Numbers": "".join(_section(section) for section in report.sections),
        "Fairness": _fairness(report.sections),
        "Figures": _figures(report.sections),
        "Runs": _runs(report, path.parent),
        "How to reproduce": _reproduce(report),
    }
    parts = {name: html for name, html in parts.items() if html}
    body = "".join(
        f'<section id="{_id(name)}"><h2>{name}</h2>{html}</section>\n'
        for name, html in parts.items()
    )
    links = "".join(f'<li><a href="#{_id(name)}">{name}</a></li>' for name in parts)
    page = Template(
        resources.files("normlab.report")
        .joinpath("report.html")
        .read_text(encoding="utf-8")
    )
    counts = report.runs["status"].value_counts()
    about = f"{len(report.runs)} runs: {', '.join(f'{count} {status}' for status, count in counts.items())}."
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        "title": escape(report.question),
        "about": escape(about),
        "navigation": links,
        "body": body,
    }
    path.write_text(page.substitute(texts), encoding="utf-8")
    return path


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")


def _tone(word: str) -> str:
    return TONES.get(word, "open")


def _word(word: str, size: str = "") -> str:
    mark = f'<span aria-hidden="true">{MARKS[_tone(word)]}</span> '
    return (
        f'<span class="word {size}">{mark}{escape(word[0].upper() + word[1:])}</span>'
    )


def _verdict(report: Report) -> str:
    html = ""
    if report.verdict:
        html += f'<div class="answer {_tone(report.verdict)}"><p>{_word(report.verdict, "big")}</p></div>'
    for section in report.sections:
        if section.verdict:
            html += (
                f'<div class="answer {_tone(section.verdict)}"><p><strong>{escape(section.heading)}</strong></p>'
                f"<p>{_word(section.verdict)}: {escape(section.reason)}</p>"
                f'<p class="rule">The rule, written before the runs: {escape(section.rule)}.</p></div>'
            )
        else:
            html += _contrast_verdicts(section.comparison.contrasts.to_dict("records"))
    if report.warnings:
        items = "".join(f"<li>{escape(text)}</li>" for text in report.warnings)
        html += f'<div class="answer"><p><strong>Know before you believe it</strong></p><ul>{items}</ul></div>'
    return html


def _contrast_verdicts(rows: list[dict]) -> str:
    """A box a contrast; where there are many, how many say what, and the sentences folded below."""
    boxes = "".join(
        f'<div class="answer {_tone(row["verdict"])}"><p>{_word(row["verdict"])}: {escape(row["sentence"])}</p></div>'
        for row in rows
    )
    if len(rows) <= MOST_BOXES:
        return (
            boxes
            or '<div class="answer"><p>There is only one arm: nothing is compared.</p></div>'
        )
    words = [row["verdict"] for row in rows]
    tally = "".join(
        f"<li>{_word(word)}: {words.count(word)} of {len(rows)}</li>"
        for word in dict.fromkeys(words)
    )
    folded = f"<details><summary>A sentence for each of {len(rows)} contrasts</summary>{boxes}</details>"
    return f'<div class="answer"><ul>{tally}</ul></div>{folded}'


def _section(section: Section) -> str:
    return f"<h3>{escape(section.heading)}</h3>" + "".join(
        _table(table) for table in section.tables
    )


def _fairness(sections: Iterable[Section]) -> str:
    """What the arms were found to share, from what every run stored."""
    checks = dict.fromkeys(
        check for section in sections for check in section.comparison.checks
    )
    if not checks:
        return ""
    rows = "".join(_check(check) for check in checks)
    return (
        "<p>The arms should differ in nothing but what is compared. This is what the runs themselves recorded.</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="What the arms share"><table class="plain">'
        f"<caption>What the arms share</caption><tbody>{rows}</tbody></table></div>"
    )


def _check(check: Check) -> str:
    tone = (
        "same"
        if check.result == DIFFERENT and not check.warns
        else CHECK_TONES[check.result]
    )
    return (
        f'<tr><th scope="row">{escape(check.name)}</th><td class="{tone}"><span class="word">'
        f'<span aria-hidden="true">{MARKS[tone]}</span> {check.result}</span></td>'
        f'<td class="text">{escape(check.message)}</td></tr>'
    )


def _table(table: Table) -> str:
    head = "".join(
        _header(name, numeric)
        for name, numeric in zip(table.columns, table.numeric, strict=True)
    )
    rows = "".join(
        _row(row, table.numeric, table.columns.index("arm")) for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>'
        f"<caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(row: list[Cell], numeric: list[bool], named: int) -> str:
    """A row; the cell at `named` is its header for who listens instead of looking."""
    cells = [
        _cell(cell, right, place == named)
        for place, (cell, right) in enumerate(zip(row, numeric, strict=True))
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _header(name: str, numeric: bool) -> str:
    kind = ' class="number"' if numeric else ""
    return f'<th scope="col" aria-sort="none"{kind}><button type="button">{escape(name)}</button></th>'


def _cell(cell: Cell, numeric: bool, header: bool = False) -> str:
    text, value = cell
    unknown = isinstance(value, float) and math.isnan(value)
    stored = "" if unknown else f"{value:.10g}" if not isinstance(value, str) else value
    kind = ' class="number"' if numeric else ""
    shown = (
        f'<span class="word {_tone(text)}">{escape(text)}</span>'
        if text in TONES
        else escape(text)
    )
    tag, end = ('th scope="row"', "th") if header else ("td", "td")
    return f'<{tag}{kind} data-value="{escape(stored)}">{shown}</{end}>'


def _figures(sections: Iterable[Section]) -> str:
    seen, html = set(), ""
    for place, section in enumerate(sections):
        for drawing in section.drawings:
            name = f"figure-{place}-{drawing.name}"
            svg = inline_svg(drawing, name)
            if (
                drawn := svg.replace(name, "")
            ) in seen:  # several claims about the same runs
                continue
            seen.add(drawn)
            wide = ' class="wide"' if drawing.figure.get_figwidth() > WIDE else ""
            described = f'<svg role="img" aria-label="{escape(drawing.title)}. {escape(drawing.description)}" '
            html += (
                f'<figure id="{name}"{wide}><h3>{escape(drawing.title)}</h3><div tabindex="0" role="group" '
                f'aria-label="{escape(drawing.title)}">{svg.replace("<svg ", described, 1)}</div>'
                f"<figcaption>{escape(drawing.caption)} {_files(drawing)}</figcaption></figure>"
            )
    return f'<div class="figures">{html}</div>' if html else ""


def _files(drawing: Drawing) -> str:
    return ", ".join(
        f'<a href="figures/{drawing.name}.{kind}">{kind.upper()}</a>'
        for kind in ("png", "svg", "pdf")
    )


def _runs(report: Report, folder: Path) -> str:
    runs, main = report.runs, report.sections[0].comparison
    varied = [
        key for key in setting_columns(runs) if runs[key].nunique(dropna=False) > 1
    ]
    metrics = [name for name in metric_columns(runs) if runs[name].notna().any()]
    shown = [*dict.fromkeys([*main.by, *main.within, "seed"])]
    metric = (
        main.metric
        if main.metric in runs
        else next(name for name in metrics if "/" in name)
    )
    origins = _origins(runs)
    head = "".join(_header(name, False) for name in ("run", *shown, "status"))
    head += "".join(_header(name, True) for name in (metric, "seconds"))
    rows = "".join(
        _run_row(
            place,
            row,
            [*shown, "status"],
            [metric, "seconds"],
            _details(row, varied, metrics, origins, folder),
        )
        for place, row in enumerate(runs.to_dict("records"))
    )
    options = "".join(
        f'<option value="{status}">{status}</option>'
        for status in ("finished", "diverged", "failed")
    )
    return (
        '<div class="filters">'
        '<label>Filter<br><input id="filter-text" type="search" placeholder="custom seed=3"></label>'
        f'<label>Status<br><select id="filter-status"><option value="">all</option>{options}</select></label>'
        f'<p id="filter-count" role="status">{len(runs)} of {len(runs)} runs shown</p></div>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="All runs"><table id="runs-table">'
        f"<caption>Every run; open one for its settings, metrics and origin</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        + _unreadable(runs)
        + _definitions("Settings that all runs share", shared_settings(runs))
        + "".join(
            _definitions(f"Origin {name}", dict(facts))
            for facts, name in origins.items()
        )
    )


def _run_row(
    place: int, row: dict, settings: list[str], numbers: list[str], details: str
) -> str:
    """A run that opens; `data-text` is what the filter looks into."""
    cells = [
        _cell((setting_text(row[key]), _sortable(row[key])), False) for key in settings
    ]
    cells += [_cell((number(row[key]), row[key]), True) for key in numbers]
    name = escape(row["run"])
    text = " ".join(
        [row["run"], *(f"{key}={setting_text(row[key])}" for key in settings)]
    )
    return (
        f'<tr data-status="{row["status"]}" data-text="{escape(text)}"><th scope="row" data-value="{name}">'
        f'<details id="run-{place}"><summary>{name}</summary>{details}</details></th>{"".join(cells)}</tr>'
    )


def _sortable(value: object) -> float | str:
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else setting_text(value)
    )


def _origins(runs: pd.DataFrame) -> dict[tuple, str]:
    """Every distinct origin, with a letter."""
    columns = [
        name
        for name in runs.columns
        if name.startswith("environment.") and name != "environment.command"
    ]
    distinct = dict.fromkeys(
        _origin(row, columns) for row in runs[columns].to_dict("records")
    )
    return {
        facts: chr(65 + place) if place < 26 else str(place)
        for place, facts in enumerate(distinct)
    }


def _origin(row: dict, columns: Iterable[str]) -> tuple:
    return tuple(
        (name.removeprefix("environment."), setting_text(row[name]))
        for name in columns
        if setting_text(row[name]) != "–"
    )


def _details(
    row: dict, varied: list[str], metrics: list[str], origins: dict, folder: Path
) -> str:
    columns = [
        name
        for name in row
        if name.startswith("environment.") and name != "environment.command"
    ]
    origin = origins[_origin(row, columns)]
    facts = {"reason": row["reason"]} if isinstance(row["reason"], str) else {}
    facts |= {
        key: setting_text(row[key]) for key in varied if setting_text(row[key]) != "–"
    }
    facts |= {name: number(row[name]) for name in metrics if row[name] == row[name]}
    link = quote(os.path.relpath(row["folder"], folder))
    links = " · ".join(
        f'<a href="{link}/{name}">{name}</a>'
        for name in ("config.yaml", "metrics.csv", "environment.json", "result.json")
    )
    body = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>"
        for key, value in facts.items()
    )
    body += f'<dt>origin</dt><dd><a href="#origin-{origin.lower()}">{origin}</a></dd>'
    return (
        f'<dl>{body}<dt>files</dt><dd><a href="{link}/">folder</a> · {links}</dd></dl>'
    )


def _unreadable(runs: pd.DataFrame) -> str:
    found = runs.attrs.get("unreadable", [])
    if not found:
        return ""
    items = "".join(
        f"<li><code>{escape(path)}</code>: {escape(reason)}</li>"
        for path, reason in found
    )
    return f"<details><summary>{len(found)} folders were left out</summary><ul>{items}</ul></details>"


def _definitions(title: str, facts: dict[str, str]) -> str:
    body = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>"
        for key, value in facts.items()
    )
    return f'<details id="{_id(title)}"><summary>{escape(title)}</summary><dl>{body}</dl></details>'


def _reproduce(report: Report) -> str:
    lines, runs = [], report.runs
    if "environment.git.commit" in runs:
        lines += [
            f"git checkout {commit}"
            for commit in runs["environment.git.commit"].dropna().unique()[:3]
        ]
    if "environment.command" in runs:
        commands = runs["environment.command"].dropna().unique()
        lines += [f"python {command}" for command in commands[:10]]
        lines += (
            [f"# and {len(commands) - 10} more, see environment.json of each run"]
            if len(commands) > 10
            else []
        )
    lines.append(report.command)
    return (
        f"<pre><code>{escape(chr(10).join(filter(None, lines)))}</code></pre>"
        "<p>A run that is already there is not trained again; the tables beside this page hold every digit.</p>"
        f"<h3>Method</h3><p>{escape(METHOD)}</p>"
    )
