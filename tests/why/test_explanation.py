"""The pictures of several runs, their words, their files and their page."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from normlab.why.explanation import explain_runs, render_page, write_explanation

from .conftest import SHORT

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
NAMES = ["landscape", "covariate_shift", "depth", "surface", "film"]


def test_five_pictures_for_two_arms(explanation):
    assert list(explanation.drawings) == NAMES
    assert explanation.arms.names == ["none", "torch"]
    assert explanation.notes == [
        "none: its norm keeps no running mean and variance, so it has no film."
    ]


def test_captions_say_what_to_look_for_what_was_found_and_how_much(explanation):
    for name, drawing in explanation.drawings.items():
        for words in ("What to look for: ", "What the paper found: ", "Measured: "):
            assert words in drawing.caption, name
        assert "arXiv" in drawing.caption, name
    along = explanation.drawings["landscape"].caption
    assert "2 runs, one seed per arm; measured at 3 of the first 5 steps" in along
    assert "in a second training from each run's own configuration" in along
    assert "batches of 64 samples" in along
    surface = explanation.drawings["surface"].caption
    assert "3 × 3 points, 32 training samples without augmentation" in surface


def test_lines_show_the_numbers_of_the_tables(explanation):
    landscape = explanation.pictures[0]
    smoothness = landscape.drawing.figure.axes[2]
    of_torch = landscape.table[landscape.table["arm"] == "torch"]
    assert [line.get_label() for line in smoothness.lines] == ["none", "torch"]
    assert smoothness.lines[1].get_ydata().tolist() == of_torch["smoothness"].tolist()
    shift = explanation.pictures[1]
    titles = [axis.get_title() for axis in shift.drawing.figure.axes]
    assert titles == ["hidden.1.linear", "output", "", ""]


def test_seeds_of_an_arm_are_averaged(runs, make_run):
    other = make_run("norm=torch", "seed=1")
    several = explain_runs([runs[1], other], SHORT)
    assert several.arms.names == ["torch"]
    picture = several.pictures[0]
    means = picture.table.groupby("step")["smoothness"].mean()
    line = picture.drawing.figure.axes[2].lines[0]
    assert line.get_ydata().tolist() == pytest.approx(means.tolist())
    assert "2 runs, 2 seeds per arm; lines are means over them" in picture.measured


def test_arms_are_named_by_what_tells_them_apart(runs, make_run):
    other = make_run("norm=torch", "optimizer.lr=0.05")
    names = explain_runs([runs[1], other], SHORT).arms.names
    assert names == ["torch, optimizer.lr=0.1", "torch, optimizer.lr=0.05"]


def test_files_of_an_explanation(explanation, tmp_path):
    two = replace(explanation, pictures=explanation.pictures[1:3])
    page = write_explanation(two, tmp_path / "new" / "why")
    assert page == tmp_path / "new" / "why" / "why.html"
    for picture in two.pictures:
        name = picture.drawing.name
        stored = pd.read_csv(page.parent / f"{name}.csv")
        assert len(stored) == len(picture.table)
        assert list(stored) == list(picture.table)
        for kind in ("png", "svg", "pdf"):
            assert (page.parent / "figures" / f"{name}.{kind}").stat().st_size > 1000


def test_an_explanation_has_no_files_of_an_earlier_one(explanation, tmp_path):
    one, other = explanation.pictures[1:3]
    write_explanation(replace(explanation, pictures=[one, other]), tmp_path)
    write_explanation(replace(explanation, pictures=[other]), tmp_path)
    name = other.drawing.name
    figures = [f"{name}.{kind}" for kind in ("pdf", "png", "svg")]
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted([f"{name}.csv", "figures", "why.files.json", "why.html"])
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == figures


def test_tables_have_no_formulas(explanation, tmp_path):
    table = pd.DataFrame({"arm": ["=1+1"], "value": [-0.5]})
    picture = replace(explanation.pictures[0], table=table)
    write_explanation(replace(explanation, pictures=[picture]), tmp_path)
    path = tmp_path / f"{picture.drawing.name}.csv"
    assert path.read_text() == "arm,value\n'=1+1,-0.5\n"


def test_the_page_is_whole_and_escapes_what_others_named(explanation):
    page = render_page(explanation)
    body = page.split("<body>")[1].split("</body>")[0]
    ElementTree.fromstring(f"<body>{body}</body>")  # well-formed
    assert page.count("<svg ") == 5
    assert 'http-equiv="Content-Security-Policy"' in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert "its norm keeps no running mean and variance" in page
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no runs"):
        explain_runs([tmp_path], SHORT)


def test_a_page_that_cannot_be_written_whole_stays_as_it_was(
    explanation, tmp_path, monkeypatch
):
    page = write_explanation(replace(explanation, pictures=[]), tmp_path)
    former = page.read_text()

    def half(path, text, **options):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        write_explanation(replace(explanation, pictures=[]), tmp_path)
    assert page.read_text() == former
