"""What a report says of arms over several tasks, and its figures."""

import pytest
from compare.test_several_tasks import write_tasks

from normlab.compare import compare, load_runs
from normlab.report import cli
from normlab.report.several_tasks import about_several_tasks


def test_a_verdict_has_its_sentence_table_and_figures(tmp_path):
    write_tasks(tmp_path, 7)
    found = about_several_tasks(compare(load_runs(tmp_path)), None, figures=True)
    (table,) = found.tables
    assert table.title == "Over 7 tasks (dataset, model)"
    assert [text for text, _ in table.rows[0]][:3] == ["custom", "1.00", "better"]
    assert found.notes[0].startswith(
        "Over 7 tasks, better than none: custom (mean rank 1.00); not told apart from "
        "none: torch (mean rank 2.00) (mean ranks with Holm's correction, smallest "
    )
    critical, profile = found.drawings
    assert critical.description == "Mean ranks: custom 1.00, torch 2.00, none 3.00"
    texts = [text.get_text() for text in critical.figure.axes[0].texts]
    assert "custom (1.00)" in texts
    (axis,) = profile.figure.axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert lines["custom"].get_ydata()[90] == 1.0
    assert lines["none"].get_ydata()[0] == 0.5


def test_the_command_line_says_how_many_tasks_are_needed(tmp_path, capsys):
    write_tasks(tmp_path, 3)
    cli.main([str(tmp_path), "--across", "dataset"])
    printed = capsys.readouterr().out
    assert "Over 2 tasks (dataset)" in printed
    assert (
        "Cannot tell from 2 tasks how the arms rank in general: at least 7 are needed "
        "for 3 arms." in printed
    )
    with pytest.raises(SystemExit):
        cli.main([str(tmp_path), "--across", "datset"])
    assert "did you mean dataset?" in capsys.readouterr().err
