"""Log files are measured as they grow, cut back, and named if they were changed."""

import hashlib
import random

import pytest

from normlab.training.log_files import LogMeter, log_files, truncate_logs


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_log_files_are_tables_and_events(tmp_path):
    (tmp_path / "csv").mkdir()
    names = ("metrics.csv", "csv/metrics.csv", "events.out.tfevents.1")
    for name in (*names, "result.json", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert log_files(tmp_path).keys() == set(names)
    assert log_files(tmp_path)["csv/metrics.csv"] == tmp_path / "csv" / "metrics.csv"


def test_files_that_grow_are_measured_whole(tmp_path):
    meter, text = LogMeter(tmp_path), ""
    assert meter.measure() == ({}, {})
    generator = random.Random(0)
    for _ in range(5):
        text += "1,0.25\n" * generator.randrange(1, 400_000)
        (tmp_path / "metrics.csv").write_text(text)
        expected = {"metrics.csv": len(text)}, {"metrics.csv": sha256(text)}
        assert meter.measure() == expected == LogMeter(tmp_path).measure()


def test_a_file_that_became_shorter_is_read_again(tmp_path):
    meter, path = LogMeter(tmp_path), tmp_path / "metrics.csv"
    path.write_text("epoch\n1\n2\n")
    meter.measure()
    path.write_text("epoch\n9\n")
    assert meter.measure() == LogMeter(tmp_path).measure()


def test_logs_are_cut_to_their_length_at_the_checkpoint(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch\n1\n")
    (tmp_path / "events.out.tfevents.1").write_bytes(b"12345")
    lengths, digests = LogMeter(tmp_path).measure()
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n")
    (tmp_path / "statistics.csv").write_text("later")
    truncate_logs(tmp_path, lengths, digests, pytest.fail)
    assert (tmp_path / "metrics.csv").read_text() == "epoch\n1\n"
    assert (tmp_path / "events.out.tfevents.1").read_bytes() == b"12345"
    assert not (tmp_path / "statistics.csv").exists()


def test_logs_that_lost_rows_are_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch\n")
    warnings = []
    lengths = {"metrics.csv": 8, "statistics.csv": 5}
    truncate_logs(tmp_path, lengths, {"metrics.csv": "0" * 64}, warnings.append)
    assert len(warnings) == 2
    assert "metrics.csv has 6 of the 8 bytes" in warnings[0]
    assert "statistics.csv has 0 of the 5 bytes" in warnings[1]


@pytest.mark.parametrize("name", ["metrics.csv", "statistics.csv", "events.out.x"])
def test_logs_that_were_changed_in_place_are_named(tmp_path, name):
    for log in ("metrics.csv", "statistics.csv", "events.out.x"):
        (tmp_path / log).write_text("epoch\n1\n2\n")
    lengths, digests = LogMeter(tmp_path).measure()
    (tmp_path / name).write_text("epoch\n7\n2\n3\n")
    warnings = []
    truncate_logs(tmp_path, lengths, digests, warnings.append)
    (warning,) = warnings
    assert f"{name} was changed after it was written" in warning
    assert "rerun=true trains the run again" in warning


def test_checkpoints_of_earlier_versions_have_no_digests(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch\n7\n")
    truncate_logs(tmp_path, {"metrics.csv": 8}, {}, pytest.fail)


def test_a_checkpoint_cannot_have_other_files_read(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret").write_text("12345")
    warnings = []
    lengths, digests = {"../secret": 5}, {"../secret": "0" * 64}
    truncate_logs(folder, lengths, digests, warnings.append)
    (warning,) = warnings
    assert "has 0 of the 5 bytes" in warning
    assert (tmp_path / "secret").read_text() == "12345"


def test_files_behind_a_folder_that_is_a_link_are_no_logs(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data.csv").write_text("1")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "csv").symlink_to(precious)
    assert log_files(folder) == {}
    truncate_logs(folder, {}, {}, pytest.fail)
    assert (precious / "data.csv").read_text() == "1"
