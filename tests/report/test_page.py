"""The page as text; test_page_in_browser.py opens it in a browser."""

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from compare.helpers import ENVIRONMENT, write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.report import cli
from normlab.report.assembly import Extras, make_section
from normlab.report.page import Report, write_report

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


def page_of(folder, *arguments) -> str:
    cli.main([str(folder), "--out", str(folder / "report"), *arguments])
    return (folder / "report" / "report.html").read_text()


def words(html: str) -> str:
    """The text of the page, without its markup, style and script."""
    body = re.sub(r"(?s)<(style|script|svg)\b.*?</\1>", " ", html)
    return unescape(
        re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)).replace(" :", ":")
    )


class Balance(HTMLParser):
    """Every tag is closed, in order."""

    EMPTY = ("meta", "br", "input", "link", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_it_is_well_formed_and_has_its_parts_in_order(tmp_path):
    write_seeds(
        tmp_path,
        {"none": NONE, "custom": [value + 0.01 for value in NONE]},
        curve=[0.5, 0.9],
    )
    html = page_of(tmp_path)
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Verdict",
        "Numbers",
        "Fairness",
        "Figures",
        "Runs",
        "Methods",
        "How to reproduce",
    ]
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert not re.search(
        r'(?:src|href)="(?:https?:)?//', html
    )  # nothing from elsewhere
    text = re.sub(r"(?s)<svg\b.*?</svg>", "", html)
    # Nothing of the template is left.
    assert not re.search(r"\$|\{\{|\}\}|\{%|\{#", text)


def test_the_title_names_model_and_data(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    html = page_of(tmp_path)
    title = re.search(r"<title>(.*?)</title>", html)[1]
    assert title == "How does test/accuracy depend on norm? mlp on digits"
    (heading,) = re.findall(r"(?s)<h1>(.*?)</h1>", html)
    assert words(heading).split() == title.split()


def test_control_characters_of_runs_are_shown_as_escapes(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    write_run(tmp_path, "none", 6, 0.1, "failed", result={"reason": "x\x1b[2Jy"})
    html = page_of(tmp_path)
    assert "\x1b" not in html
    assert r"x\x1b[2Jy" in html


def test_what_the_arms_share_is_told(tmp_path):
    write_seeds(tmp_path, {"none": NONE}, settings={"dataset.batch_size": 64})
    write_seeds(tmp_path, {"custom": NONE}, settings={"dataset.batch_size": 32})
    told = words(page_of(tmp_path))
    assert (
        "✗ different custom and none also differ in dataset.batch_size (32 against 64)."
        in told
    )


def test_how_to_reproduce_has_commit_commands_and_this_page(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    told = words(page_of(tmp_path))
    commit = ENVIRONMENT["git"]["commit"]
    assert (
        f"git checkout {commit} python train.py -m norm=none,custom 'seed=range(10)'"
        in told
    )
    assert f"python scripts/compare.py {tmp_path} --out {tmp_path}/report" in told


def test_a_stored_commit_cannot_add_a_command(tmp_path):
    git = {"commit": "x; touch marker", "dirty": False}
    for norm in ("none", "custom"):
        for seed, value in enumerate(NONE):
            origin = ENVIRONMENT | {"git": git}
            write_run(tmp_path, norm, seed, value, environment=origin)
    assert "git checkout 'x; touch marker'" in words(page_of(tmp_path))


def test_a_stored_command_of_another_program_is_not_shown(tmp_path):
    commands = [["-c", "open('marker', 'w')"], ["train.py", "seed=$(touch marker)"]]
    for norm, command in zip(("none", "custom"), commands, strict=True):
        for seed, value in enumerate(NONE):
            origin = ENVIRONMENT | {"command": command}
            write_run(tmp_path, norm, seed, value, environment=origin)
    told = words(page_of(tmp_path))
    assert "python train.py 'seed=$(touch marker)' # and 1 more, see" in told
    assert "open('marker'" not in told


def test_contrasts_of_one_verdict_share_a_card(tmp_path):
    for size in range(1, 11):
        write_seeds(
            tmp_path,
            {"ghost": [value + 0.02 * (size > 5) for value in NONE]},
            settings={"norm.size": size},
        )
    html = page_of(tmp_path, "--by", "norm.size", "--baseline", "1", "--level", "0.3")
    told = words(html)
    assert "Better: 5 of 9 contrasts" in told
    assert "6 − 1 +0.0200 (+0.0200 to +0.0200)" in told
    assert "<summary>In 5 sentences</summary>" in html


def test_folders_left_out_are_listed(tmp_path):
    group = write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    (group / "cut").mkdir()
    (group / "cut" / "config.yaml").write_text("seed: 0")
    told = words(page_of(tmp_path))
    assert "1 folder was left out: " in told
    assert "cut: no result.json: the run has not ended" in told


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_runs_that_did_not_finish_say_why(tmp_path, status):
    write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    write_run(tmp_path, "none", 6, 0.1, status)
    told = words(page_of(tmp_path))
    assert f"12 finished, 1 {status}" in told
    assert {"diverged": "train/loss is not finite", "failed": "RuntimeError: no"}[
        status
    ] in told


def test_runs_without_curves_are_told_once(tmp_path):
    group = write_seeds(tmp_path, {"none": NONE, "custom": NONE}, curve=[0.5, 0.9])
    first = next(path for path in sorted(group.iterdir()) if path.is_dir())
    (first / "metrics.csv").unlink()
    told = words(page_of(tmp_path, "--target", "val/accuracy=0.8"))
    assert told.count("metrics.csv is missing, damaged or cut in 1 of 12 runs") == 1
    assert f"target of val/accuracy leave out; the first is {first}." in told


def test_every_value_on_the_page_is_escaped(tmp_path):
    """Also in attributes, in the descriptions of figures, and in the folded details."""
    hostile = '"><script>alert(1)</script>'
    environment = ENVIRONMENT | {"command": ["train.py", hostile]}
    settings = {"dataset.name": hostile, "choices.model": hostile}
    for seed, value in enumerate(NONE[:3]):
        write_run(tmp_path, "none", seed, value, environment=environment)
        write_run(tmp_path, "custom", seed, value, settings=settings, curve=[0.5, 0.9])
    write_run(tmp_path, "none", 6, 0.1, "failed", result={"reason": hostile})
    html = page_of(tmp_path, "--by", "norm,model", "--baseline", "none, model=mlp")
    assert "alert(1)" in html
    assert hostile not in html
    assert html.count("<script") == 1  # the page's own
    parser = Balance()
    parser.feed(html)
    assert parser.open == []


def test_markup_in_the_title_and_in_warnings_is_text(tmp_path):
    write_seeds(tmp_path, {"none": NONE, "custom": NONE})
    runs = load_runs(tmp_path)
    section = make_section("<i>claim</i>", compare(runs), Extras(figures=False))
    section = replace(section, verdict="supported", reason="<b>1</b>", rule="<u>2</u>")
    section = replace(section, rule_origin="The rule, <em>now</em>", control="<s>3</s>")
    report = Report("<h1>why</h1>", "supported", [section], runs, ["<a>caution</a>"])
    html = write_report(report, tmp_path / "report.html").read_text()
    for tag in ("<i>", "<b>", "<u>", "<a>", "<s>", "<h1>why</h1>"):
        assert tag not in html
    shown = words(html)
    assert "✓ Supported" in shown
    assert "<i>claim</i>" in shown
    assert "The rule, <em>now</em>: <u>2</u>." in shown
    assert "<s>3</s>" in shown


def test_a_page_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    write_seeds(tmp_path / "runs", {"none": NONE, "custom": NONE})
    runs = load_runs(tmp_path / "runs")
    section = make_section("claim", compare(runs), Extras(figures=False))
    path = tmp_path / "report.html"
    path.write_text("former")

    def half(path, text, **options):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        write_report(Report("why", "", [section], runs, []), path)
    assert path.read_text() == "former"
