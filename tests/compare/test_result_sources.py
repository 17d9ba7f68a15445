"""What files and folders are, and several of them in one table."""

import pytest

from compare.test_event_results import write_events
from compare.test_other_results import loaded, written
from normlab.compare import load_results
from normlab.compare.result_sources import is_other_source


def test_folders_of_other_programs_are_recognized(tmp_path):
    theirs = tmp_path / "theirs"
    write_events(theirs / "run", [0.5])
    assert is_other_source(theirs)
    ours = tmp_path / "ours"
    write_events(ours / "run", [0.5])
    (ours / "run" / "config.yaml").write_text("seed: 0\nchoices:\n  norm: none\n")
    assert not is_other_source(ours)
    assert not is_other_source(tmp_path / "nowhere")
    assert is_other_source(tmp_path / "results.csv")


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    rows = [f"{arm},{seed},0.{seed}1" for arm in ("a", "b") for seed in range(2)]
    path = written(tmp_path, "optimizer,seed,acc\n" + "\n".join(rows))
    runs = load_results(path, path, by="optimizer", metric="acc")
    assert len(runs) == 4
    assert "file" not in runs


def test_several_files_are_told_apart_by_their_names(tmp_path):
    paths = []
    for name, gain in (("adam", 0.1), ("sgd", 0.0)):
        rows = [f"{seed},{0.5 + gain + seed / 100}" for seed in range(3)]
        text = "seed,acc\n" + "\n".join(rows)
        paths.append(written(tmp_path, text, f"{name}.csv"))
    runs = load_results(*paths, by="file", metric="acc")
    assert runs["file"].tolist() == ["adam"] * 3 + ["sgd"] * 3
    assert runs["acc"].tolist() == pytest.approx([0.6, 0.61, 0.62, 0.5, 0.51, 0.52])


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.csv does not exist"):
        loaded(tmp_path / "nowhere.csv")


def test_a_run_that_diverged_stays_so_among_several_files(tmp_path):
    first = written(tmp_path, "optimizer,seed,acc\na,0,nan\na,1,0.5\na,2,\n", "1.csv")
    second = written(
        tmp_path, "optimizer,seed,acc,lr\nb,0,0.5,0.1\nb,1,1,0.1\n", "2.csv"
    )
    runs = load_results(first, second, by="optimizer", metric="acc")
    expected = ["diverged", "finished", "failed", "finished", "finished"]
    assert runs["status"].tolist() == expected
    assert runs["lr"].tolist() == [None, None, None, 0.1, 0.1]


def test_a_column_called_file_is_not_written_over(tmp_path):
    paths = []
    for name in ("1.csv", "2.csv"):
        paths.append(written(tmp_path, "file,seed,acc\nx,0,1\ny,0,1\n", name))
    with pytest.raises(ValueError, match="a column file, which 1 has already"):
        load_results(*paths, by="file", metric="acc")
