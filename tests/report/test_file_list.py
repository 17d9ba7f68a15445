"""Files that only an earlier report wrote are removed, and no other files."""

import json
import os

import pytest

from normlab.report import file_list
from normlab.report.file_list import replaced_files


@pytest.fixture
def report(tmp_path):
    """report(*names): write files with their names as content, and list them."""
    told = []

    def write(*names, text=None):
        told.clear()
        with replaced_files(tmp_path / "report.html", told.append) as staged:
            for name in ("report.html", *names):
                path = staged / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text or path.name)
        return told

    return write


def names(folder):
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def test_what_only_the_earlier_report_has_is_removed(report, tmp_path):
    (tmp_path / "notes.md").write_text("of the user")
    assert report("arms.md", "budgets.csv", "figures/heatmap.png") == []
    assert report("arms.md", "ranks.md") == [
        "removed, since only an earlier report has them: budgets.csv, "
        "figures/heatmap.png"
    ]
    kept = ["arms.md", "notes.md", "ranks.md", "report.files.json", "report.html"]
    assert names(tmp_path) == kept
    assert report("arms.md", "ranks.md") == []
    assert names(tmp_path) == kept


def test_files_that_somebody_has_changed_are_kept(report, tmp_path):
    report("arms.md", "budgets.csv")
    (tmp_path / "budgets.csv").write_text("mine")
    assert report("arms.md") == [
        "kept from an earlier report, since they were changed: budgets.csv"
    ]
    assert (tmp_path / "budgets.csv").read_text() == "mine"
    assert report() == ["removed, since only an earlier report has them: arms.md"]


def test_a_list_that_names_what_cannot_be_a_file_is_read(report, tmp_path):
    listed = {"x" * 300: "0", "arms.md": "0"}
    (tmp_path / "report.files.json").write_text(json.dumps(listed))
    assert report() == []
    assert "xxx" not in (tmp_path / "report.files.json").read_text()


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_after_an_interruption_old_and_new_files_are_removed(
    report, tmp_path, monkeypatch, moved
):
    report("arms.md", "figures/heatmap.png")
    places = iter(range(moved))

    def replace(source, target):
        if next(places, None) is None:
            raise KeyboardInterrupt
        os.replace(source, target)

    monkeypatch.setattr(file_list, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        report("arms.md", "figures/heatmap.png", "ranks.md", text="new")
    monkeypatch.undo()
    texts = [
        path.read_text() for path in tmp_path.rglob("*.*") if path.suffix != ".json"
    ]
    assert texts.count("new") == moved
    listed = ["arms.md", "figures/heatmap.png", "ranks.md"][: 3 if moved == 3 else 2]
    assert names(tmp_path) == [*listed, "report.files.json", "report.html"]
    (told,) = report()
    assert told.endswith(f"report has them: {', '.join(listed)}")
    assert names(tmp_path) == ["report.files.json", "report.html"]


def test_a_report_that_fails_changes_nothing(report, tmp_path):
    report("arms.md")

    def fail():
        with replaced_files(tmp_path / "report.html") as staged:
            (staged / "arms.md").write_text("new")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    assert (tmp_path / "arms.md").read_text() == "arms.md"
    assert names(tmp_path) == ["arms.md", "report.files.json", "report.html"]


def test_files_that_another_report_removes_meanwhile_are_no_error(
    report, tmp_path, monkeypatch
):
    report("arms.md", "budgets.csv")
    digest = file_list._digest

    def other_report(file):
        if file.parent == tmp_path:
            if file.name == "budgets.csv":
                value = digest(file)
                file.unlink()
                return value
            file.unlink()
        return digest(file)

    monkeypatch.setattr(file_list, "_digest", other_report)
    report()
    assert names(tmp_path) == ["report.files.json", "report.html"]


def test_a_list_of_somebody_else_removes_nothing_outside_of_the_report(
    report, tmp_path
):
    report("arms.md")
    path = tmp_path / "report.files.json"
    digest = json.loads(path.read_text())["arms.md"]  # of the text arms.md
    outside = tmp_path.parent / "arms.md"
    folder = tmp_path.parent / "elsewhere"
    folder.mkdir()
    for file in (outside, folder / "arms.md", tmp_path / ".arms.md"):
        file.write_text("arms.md")
    (tmp_path / "figures").symlink_to(folder)
    (tmp_path / "link.md").symlink_to(outside)
    listed = ["../arms.md", str(outside), "figures/arms.md", "link.md", ".arms.md"]
    path.write_text(json.dumps(dict.fromkeys(listed, digest)))
    assert report("arms.md") == []
    assert outside.exists()
    assert (folder / "arms.md").exists()
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / ".arms.md").exists()


@pytest.mark.parametrize("content", ["[", "[1]", '{"arms.md": 1}', None])
def test_without_a_list_that_can_be_read_nothing_is_removed(report, tmp_path, content):
    report("arms.md")
    path = tmp_path / "report.files.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    report("ranks.md")
    assert (tmp_path / "arms.md").exists()
    assert json.loads(path.read_text()).keys() == {"report.html", "ranks.md"}


def test_many_files_are_counted(report):
    report(*(f"{number}.md" for number in range(10, 22)))
    (told,) = report()
    assert told.endswith(
        ": 10.md, 11.md, 12.md, 13.md, 14.md, 15.md, 16.md, 17.md, "
        "18.md, 19.md and 2 more"
    )
