"""From folders of runs to a report."""

import pytest
from compare.helpers import write_seeds

from normlab.report.assembly import Extras, comparison_report

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


@pytest.fixture
def folder(tmp_path):
    custom = [value + 0.01 for value in NONE]
    return write_seeds(tmp_path, {"none": NONE, "custom": custom}, curve=[0.5, 0.9])


def test_a_report_has_the_tables_that_are_asked_for(folder):
    extras = Extras(target="val/accuracy=0.8", figures=False)
    report = comparison_report([folder], {"baseline": "none"}, extras)
    assert report.question == "How does test/accuracy depend on norm?"
    (section,) = report.sections
    assert section.heading == "test/accuracy by norm"
    names = ["arms", "contrasts", "time_to_target"]
    assert [table.name for table in section.tables] == names
    assert list(section.frames) == names
    assert section.drawings == []


def test_the_heatmap_has_two_different_settings(folder):
    extras = Extras(heatmap=("seed", "seed"))
    with pytest.raises(ValueError, match="^heatmap must name two different settings"):
        comparison_report([folder], {}, extras)


def test_unreadable_folders_are_counted_in_a_warning(folder):
    for name in ("cut", "torn"):
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text("seed: 0")
    report = comparison_report([folder], {}, Extras(figures=False))
    assert report.warnings[-1].startswith("2 folders were left out, the first: ")
    assert "cut (no result.json" in report.warnings[-1]
