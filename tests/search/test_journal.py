"""The journal of a search refuses entries that were changed."""

import json
import random

import pytest
from optuna.storages.journal import JournalFileBackend

from normlab.search.journal import CHECKSUM, CheckedJournal, checksum

LOGS = [
    {"op_code": 4, "worker_id": "a", "trial_id": 0, "value": value, "text": "größer"}
    for value in (0.1, None, 1e-30, float("inf"))
]


@pytest.fixture
def path(tmp_path):
    """A journal with four entries."""
    path = tmp_path / "study.journal"
    journal = CheckedJournal(path)
    journal.append_logs(LOGS[:1])
    journal.append_logs(LOGS[1:])
    return path


def read(path):
    """The entries, or the reason why they are refused."""
    try:
        return list(CheckedJournal(path).read_logs(0))
    except ValueError as error:
        return str(error)


def test_entries_are_read_as_they_were_written(path):
    journal = CheckedJournal(path)
    assert list(journal.read_logs(0)) == LOGS
    assert list(journal.read_logs(3)) == LOGS[3:]
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry[CHECKSUM] for entry in written] == [checksum(log) for log in LOGS]


def test_entries_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "study.journal"
    JournalFileBackend(str(path)).append_logs(LOGS[:2])
    CheckedJournal(path).append_logs(LOGS[2:])
    assert list(CheckedJournal(path).read_logs(0)) == LOGS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"value":null', '"value":0.25', "line 2 .it does not match its checksum"),
        ('"value":0.1', '"value":0.2', "line 1 .it does not match its checksum"),
        ('"op_code":4', '"op_code":5', "line 1 .it does not match its checksum"),
        ('{"op_code":4', "[4]", "line 0 .Extra data"),
        ("1e-30", "1e-3o", "line 2 .Expecting ',' delimiter"),
    ],
)
def test_a_changed_entry_is_refused_with_its_line(path, old, new, message):
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as error:
        list(CheckedJournal(path).read_logs(0))
    assert str(error.value).startswith(f"{path} is damaged near line ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", "it is no entry"),
        ("{}", "it is no entry"),
        ('{"op_code": "1"}', "it is no entry"),
        ("null", "it is no entry"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_no_entry_is_refused(path, line, message):
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(ValueError, match=f"study.journal is damaged .*{message}"):
        list(CheckedJournal(path).read_logs(0))


@pytest.mark.parametrize("seed", range(100))
def test_no_flipped_bit_changes_an_entry(path, seed):
    generator = random.Random(seed)
    content = bytearray(path.read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    found = read(path)
    if isinstance(found, str):
        assert "study.journal is damaged" in found
        return
    # What is left of a key or of the last line break changes no value.
    for log, expected in zip(found, LOGS, strict=False):
        assert {**log, **expected} == log


def test_a_journal_that_is_a_link_is_refused(tmp_path):
    target = tmp_path / "precious"
    target.write_text("a line that has no end")
    (tmp_path / "study.journal").symlink_to(target)
    with pytest.raises(ValueError, match=r"study\.journal must not be a link"):
        CheckedJournal(tmp_path / "study.journal")
    assert target.read_text() == "a line that has no end"
