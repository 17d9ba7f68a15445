"""What a report says about the noise of the test set."""

import json

import pandas as pd
from compare.test_test_part import store_classes, store_values

from normlab.compare import compare, load_runs
from normlab.report import cli
from normlab.report.test_set import about_test_set


def with_names(run):
    path = run / "result.json"
    stored = json.loads(path.read_text()) | {"classes": ["ant", "bee", "cat", "dog"]}
    path.write_text(json.dumps(stored))


def test_tables_and_sentences_of_several_seeds(tmp_path):
    for seed in range(6):
        with_names(store_classes(tmp_path, "none", seed, [3, 7, 10 + seed]))
        with_names(store_classes(tmp_path, "custom", seed, [20 + seed]))
    found = about_test_set(compare(load_runs(tmp_path)), with_samples=True)
    noise, samples = found.tables
    assert noise.columns == [
        *("arm", "n", "test samples", "difference", "95% over seeds"),
        *("95% over seeds and test samples", "variance from test set"),
    ]
    assert [text for text, _ in noise.rows[0]][:4] == [
        *("custom", "6 pairs", "40", "+0.0500")
    ]
    assert [text for text, _ in samples.rows[0]] == [
        *("custom", "3", "dog", "6 of 6", "0 of 6", "dog", "ant")
    ]
    assert len(samples.rows) == 10
    explanation, vanishing = found.notes
    assert explanation.startswith(
        "The interval over seeds is about other seeds and the"
    )
    assert vanishing.endswith("seeds and test samples contains 0: custom and none.")
    assert list(found.frames) == ["test_noise", "test_samples"]
    few = about_test_set(compare(load_runs(tmp_path)), with_samples=False)
    assert [table.name for table in few.tables] == ["test_noise"]


def test_two_runs_are_compared_on_the_command_line(tmp_path, capsys):
    first = store_classes(tmp_path, "none", 0, [1, 2, 3, 4, 5])
    second = store_classes(tmp_path, "custom", 0, [5, 6])
    out = tmp_path / "out"
    cli.main([str(first), str(second), "--baseline", "none", "--out", str(out)])
    printed = capsys.readouterr().out
    assert (
        "custom alone is right on 4 of 40 test samples, none alone on 1 (McNemar's "
        "exact test, p = 0.375). This is about two trained networks; other seeds "
        "may reverse it." in printed
    )
    assert pd.read_csv(out / "mcnemar.csv")["p"].tolist() == [0.375]
    page = (out / "report.html").read_text()
    assert "custom alone is right on 4 of 40 test samples" in page


def test_errors_of_values_have_their_size(tmp_path):
    for seed in range(2):
        store_values(tmp_path, "none", seed, [0.5, 0.0, 0.0])
        store_values(tmp_path, "custom", seed, [0.0, 0.0, 0.25])
    comparison = compare(load_runs(tmp_path), metric="test/rmse", baseline="none")
    _, samples = about_test_set(comparison, with_samples=True).tables
    assert samples.columns[1:5] == ["row", "target", "error", "error of the baseline"]
    assert [text for text, _ in samples.rows[0]][1:5] == [
        *("0", "0.0000", "0.0000", "0.5000")
    ]
