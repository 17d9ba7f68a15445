"""The command line writes, prints and scores predictions, and explains mistakes."""

import csv

import pytest

from normlab.predict.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The variables that the command sets are as before when a test ends."""
    for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.setenv(name, "0")


def test_photographs_are_predicted_by_the_names_of_classes(
    photographs, pictures, tmp_path, capsys
):
    out = tmp_path / "predictions.csv"
    main([str(photographs), str(pictures / "test"), "--out", str(out)])
    output = capsys.readouterr().out
    assert f"16 predictions  {out}" in output
    assert "accuracy 1.0000 on 16 of 16 samples, whose class is known" in output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == [
        *("file", "class", "prediction", "probability"),
        *("probability of cat", "probability of dog"),
    ]
    for row in rows:
        name = row["file"].split("/")[0]
        assert row["class"] == row["prediction"] == name
        both = [float(row[f"probability of {other}"]) for other in ("cat", "dog")]
        assert sum(both) == pytest.approx(1, abs=1e-5)
        assert float(row["probability"]) == max(both)


def test_values_are_printed_and_scored(table, capsys):
    path, folder = table("price")
    main([str(folder), str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["row", "target", "prediction"]
    assert lines[1].split()[0] == "1"
    assert "... and 40 more; --out FILE writes all of them" in lines
    assert lines[-1].startswith("rmse ")
    assert lines[-1].endswith("on 60 of 60 samples, whose target is known")


def test_one_image_is_predicted(photographs, pictures, capsys):
    main([str(photographs), str(pictures / "test" / "dog" / "3.png")])
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["file", "prediction", "probability"]
    assert row.split()[:2] == ["3.png", "dog"]


def test_nothing_is_written_if_an_image_is_damaged(
    photographs, pictures, tmp_path, capsys
):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes((pictures / "test/dog/3.png").read_bytes())
    (folder / "b.png").write_bytes(b"no image")
    out = tmp_path / "predictions.csv"
    with pytest.raises(SystemExit) as end:
        main([str(photographs), str(folder), "--out", str(out)])
    assert end.value.code == 2
    assert "b.png cannot be read" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nowhere", "x.csv"], "error: /nowhere must be the folder of a run"),
        (["RUN", "/nowhere"], "error: INPUT must be a file or a folder, there is no"),
        (["RUN", "X", "--out", "/nowhere/x.csv"], "error: --out must be a file in a f"),
        (["RUN", "EMPTY"], "error: EMPTY must hold images"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    digits, tmp_path, capsys, words, message
):
    paths = {"RUN": str(digits), "EMPTY": str(tmp_path)}
    words = [paths.get(word, word) for word in words]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(message.replace("EMPTY", str(tmp_path)))
    assert len(error.splitlines()) <= 2
