"""Damages of stored files, and the verdicts over what came of them."""

import os
import random
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the harness is run as a script

import mutations  # noqa: E402
import subjects  # noqa: E402
from readings import Answer, Subject  # noqa: E402

CONTENT = b"epoch,loss\n1,0.50\n2,0.25\n"
FILE = "group/run-1/metrics.csv"
EXPECTED = Answer(values={"tables": {"run-1": "0.5", "run-2": "0.25"}})


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mutation", mutations.MUTATIONS)
def test_a_mutation_changes_what_its_name_says(mutation, seed):
    changed = mutation(CONTENT, random.Random(seed))
    differing = [
        place
        for place, (new, old) in enumerate(zip(changed, CONTENT, strict=False))
        if new != old
    ]
    if mutation is mutations.cut:
        assert CONTENT.startswith(changed)
        assert len(changed) < len(CONTENT)
        return
    assert len(changed) == len(CONTENT)
    if mutation is mutations.blocks_swapped:
        assert sorted(changed) == sorted(CONTENT)
    else:
        assert len(differing) <= 1
    if mutation is mutations.bit_flipped:
        (place,) = differing
        assert (changed[place] ^ CONTENT[place]).bit_count() == 1
    if mutation is mutations.digit_changed and differing:
        assert chr(changed[differing[0]]).isdecimal()
        assert chr(CONTENT[differing[0]]).isdecimal()


def test_a_mutated_file_always_differs(tmp_path):
    (tmp_path / "one").write_bytes(CONTENT)
    (tmp_path / "twin").write_bytes(b"twin")
    subject = Subject(tmp_path, "one", "twin", ())
    generator = random.Random(0)
    found = [mutations.mutated(subject, generator) for _ in range(300)]
    assert all(content != CONTENT for _, content in found)
    assert {name for name, _ in found} == {
        *("bit flipped", "cut", "digit changed", "blocks swapped"),
        "another one's file",
    }
    assert dict(found)["another one's file"] == b"twin"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (EXPECTED, "same"),
        (Answer(values={"tables": {"run-1": "0.5", "run-2": "0.26"}}), "wrong: run-2"),
        (Answer(values={"tables": {"run-1": "0.5"}}), "wrong: run-2"),
        (Answer({"tables": {"run-2": "0.25"}}, told="run-1 is damaged"), "told"),
        (Answer({"tables": {"run-2": "0.25"}}, told="run-3 is damaged"), "wrong: run"),
        (Answer(refused={"tables": f"{FILE} is not readable"}), "refused"),
        (Answer(refused={"tables": "something is not readable"}), "wrong: tables"),
        (Answer(refused={"tables": f"{FILE}\nis\ndamaged"}), "wrong: tables"),
        (Answer(failed="Traceback: KeyError"), "wrong: Traceback"),
    ],
)
def test_what_is_wrong(answer, verdict):
    subject = Subject(Path(), FILE, FILE, ())
    assert mutations.verdict(subject, answer, EXPECTED).startswith(verdict)


@pytest.mark.parametrize(
    ("shown", "told", "verdict"),
    [
        ({"loss": [(1, 0.5)]}, "", "same"),
        ({}, "", "same"),
        ({"loss": [(1, 0.25)]}, "", "wrong"),
        ({"accuracy": [(1, 0.5)]}, "", "wrong"),
        ({"loss": [(1, 0.25)]}, "run-1/events.out.tfevents.1 was changed", "told"),
    ],
)
def test_tensorboard_may_show_less_but_nothing_else(shown, told, verdict):
    expected = Answer({"resumed": {"events.out": {"loss": [(1, 0.5), (2, 0.25)]}}})
    answer = Answer({"resumed": {"events.out": shown}}, told=told)
    subject = Subject(Path(), FILE, FILE, ())
    assert mutations.verdict(subject, answer, expected).startswith(verdict)


def hang(outputs):
    import time

    time.sleep(600)


def crash(outputs):
    os.abort()


def refuse(outputs):
    raise ValueError("of the user")


def fail(outputs):
    raise KeyError("of nobody")


def read(outputs):
    return {"file": (outputs / "file").read_text()}


@pytest.fixture
def subject(tmp_path):
    def of(*readings):
        (tmp_path / "intact").mkdir()
        (tmp_path / "intact" / "file").write_text("as it was")
        return Subject(tmp_path / "intact", "file", "file", readings)

    return of


def test_readings_are_done_below_a_copy_with_the_damaged_file(subject, tmp_path):
    found = mutations.answer_to(subject(read, refuse, fail), tmp_path, b"damaged")
    assert found.values == {"read": {"file": "damaged"}}
    assert found.refused == {"refuse": "of the user"}
    assert "KeyError: 'of nobody'" in found.failed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["intact"]
    assert (tmp_path / "intact" / "file").read_text() == "as it was"


@pytest.mark.parametrize(
    ("reading", "seconds", "failed"),
    [(hang, 3, "still at work after 3 s"), (crash, 300, "exit code -6")],
)
def test_readings_may_hang_or_crash(
    subject, tmp_path, monkeypatch, reading, seconds, failed
):
    monkeypatch.setattr(mutations, "MOST_SECONDS", seconds)
    assert mutations.answer_to(subject(reading), tmp_path, None).failed == failed


def test_there_are_a_thousand_damages():
    assert sum(subjects.SHARES.values()) == 1000
