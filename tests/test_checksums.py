"""Whatever is changed in a stored result is refused, or changes nothing."""

import json
import re
import shutil

import pytest
from compare.helpers import write_run

from normlab.checksums import (
    BEST_CHECKPOINT,
    CHECKSUM,
    FILES,
    archive_digest,
    best_checkpoint,
    changed_events,
    check_best_checkpoint,
    check_file,
    checksum,
    file_digests,
    verified,
    with_checksum,
)
from normlab.compare.curves import curve_warnings, read_curves, read_layers
from normlab.compare.runs import load_runs
from normlab.results import read_result, write_result

# Everything that a result may hold: as of a run that has finished.
RESULT = {
    "schema": 1,
    "run": "digits-mlp/custom-sgd-lr0.1-seed0-0123456789",
    "config_digest": "0123456789abcdef" * 4,
    "choices": {"dataset": "digits", "norm": "custom", "study": None},
    "seed": 0,
    "status": "finished",
    "reason": None,
    "metrics": {"test/accuracy": 0.9667, "test/loss": 0.125, "val/loss": None},
    "seconds": 1.25,
    "epochs": 5,
    "best_epoch": 4,
    "steps": 90,
    "samples_per_second": 51234.5,
    "num_parameters": 17226,
    "initial_weights": "0123456789abcdef",
    "synchronized": None,
    "classes": ["neg", "pos", "größer"],
    "cautions": ["the last batch of an epoch has 2 samples"],
    "norm_report": [{"layer": "bn1", "kept": True, "eps": 1e-05}],
    BEST_CHECKPOINT: "fedcba9876543210" * 4,
}


def other_character(character):
    """A character of the same kind, so that the file most likely remains JSON."""
    if character.isdigit():
        return str((int(character) + 1) % 10)
    if character.isalpha():
        return "x" if character != "x" else "y"
    return {"[": "{", "{": "[", '"': "'", ",": ";", ":": ","}.get(character, "_")


def changes_of_characters(text, every=7):
    """Texts with one character exchanged, removed or doubled."""
    for number, place in enumerate(range(0, len(text), every)):
        head, character, tail = text[:place], text[place], text[place + 1 :]
        instead = (other_character(character), "", 2 * character)[number % 3]
        yield f"{place}: {character!r} to {instead!r}", head + instead + tail


def changes_of_values(text):
    """Texts with one value exchanged by another one of the same type."""
    numbers = re.finditer(r"(?<=: )-?\d[\d.e-]*", text)
    words = re.finditer(r'(?<=: )"[^"]*"|null|true', text)
    for match in [*numbers, *words]:
        instead = {"null": "0", "true": "false"}.get(match[0], f"1{match[0]}")
        if match[0].startswith('"'):
            instead = '"another"'
        change = f"{match.start()}: {match[0]} to {instead}"
        yield change, text[: match.start()] + instead + text[match.end() :]


@pytest.fixture
def folder(tmp_path):
    """A run folder with a result that has a checksum."""
    folder = write_run(tmp_path, "custom")
    write_result(folder, RESULT)
    return folder


def read(folder):
    """The result, or the reason why it is refused."""
    try:
        return read_result(folder)
    except ValueError as error:
        return str(error)


def loaded(folder):
    """The row of the run, or the reason why it is left out."""
    try:
        row = load_runs(folder).iloc[0]
    except ValueError as error:
        return str(error)
    return row.dropna().to_dict()


def test_no_change_of_a_result_passes_unnoticed(folder):
    path = folder / "result.json"
    text = path.read_text()
    expected_row = loaded(folder)
    assert read_result(folder) == RESULT
    assert expected_row["test/accuracy"] == 0.9667

    refused = 0
    changes = [*changes_of_characters(text), *changes_of_values(text)]
    for change, changed in changes:
        path.write_text(changed)
        result = read(folder)
        if isinstance(result, str):
            assert "delete it to run again" in result, change
            assert "result.json" in loaded(folder), change
            refused += 1
        else:  # white space, or the name of the checksum: no value is another one
            assert {**result, **RESULT} == result, change
            assert loaded(folder) == expected_row, change
    assert len(changes) > 150
    assert refused > 0.75 * len(changes)


def test_another_layout_of_the_same_values_is_no_change(folder):
    path = folder / "result.json"
    content = json.loads(path.read_text())
    for options in ({}, {"indent": 8}, {"sort_keys": True}, {"ensure_ascii": False}):
        path.write_text(json.dumps(content, **options))
        assert read_result(folder) == RESULT


def test_a_result_of_an_earlier_version_is_read_as_before(folder):
    (folder / "result.json").write_text(json.dumps(RESULT))
    assert read_result(folder) == RESULT
    assert loaded(folder)["test/accuracy"] == 0.9667


def test_a_changed_run_is_named_and_left_out_of_a_comparison(folder):
    write_run(folder.parents[1], "custom", seed=1)
    path = folder / "result.json"
    path.write_text(path.read_text().replace("0.9667", "0.1667"))
    runs = load_runs(folder.parent)
    assert list(runs["seed"]) == [1]
    ((named, reason),) = runs.attrs["unreadable"]
    assert named == str(folder)
    assert reason == (
        "result.json does not match its checksum: it was changed after the run ended; "
        "the command of the run makes it again"
    )


def test_a_checksum_is_of_values_and_not_of_their_order():
    assert checksum({"a": 1, "b": [2.5, None]}) == checksum({"b": [2.5, None], "a": 1})
    assert checksum({"a": 1}) != checksum({"a": 1.0}) != checksum({"a": True})
    result = with_checksum({"a": (1, 2), 3: "x"})
    assert verified(result, "file") == {"a": [1, 2], "3": "x"}
    with pytest.raises(ValueError, match="file does not match its checksum"):
        verified(result | {CHECKSUM: None}, "file")


def test_the_best_checkpoint_is_that_of_the_result(tmp_path):
    torch = pytest.importorskip("torch")
    path = best_checkpoint(tmp_path)
    path.parent.mkdir()
    torch.save({"weight": torch.ones(100)}, path)
    result = {BEST_CHECKPOINT: archive_digest(path)}
    check_best_checkpoint(tmp_path, result)
    check_best_checkpoint(tmp_path, {})  # of an earlier version

    other = tmp_path / "other.ckpt"
    torch.save({"weight": torch.zeros(100)}, other)
    shutil.copy(other, path)
    with pytest.raises(ValueError, match=r"best\.ckpt is not the checkpoint that was"):
        check_best_checkpoint(tmp_path, result)
    for content in (b"", b"no archive", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="put that back, or train the run again"):
            check_best_checkpoint(tmp_path, result)
    path.unlink()
    check_best_checkpoint(tmp_path, result)
    path.symlink_to(other)
    with pytest.raises(ValueError, match="is not the checkpoint"):
        check_best_checkpoint(tmp_path, result)


@pytest.fixture
def complete(tmp_path):
    """The folder of a run whose result knows the other files, beside another run."""
    for seed in (0, 1):
        options = {"curve": [0.5, 0.75], "layers": True}
        folder = write_run(tmp_path, "custom", seed, **options)
        (folder / "inputs.json").write_text('{"schema": 1}')
        (folder / "predictions.npz").write_text("1")
        result = json.loads((folder / "result.json").read_text())
        write_result(folder, result | {FILES: file_digests(folder)})
    return folder


def change_a_digit(path):
    """Change the last digit of a file."""
    text = path.read_text()
    place = max(text.rfind(digit) for digit in "0123456789")
    other = str((int(text[place]) + 1) % 10)
    path.write_text(text[:place] + other + text[place + 1 :])


def test_a_file_is_refused_if_it_is_not_as_the_run_left_it(complete):
    result = read_result(complete)
    assert list(result[FILES]) == [
        *("config.yaml", "environment.json", "inputs.json", "metrics.csv"),
        *("statistics.csv", "predictions.npz"),
    ]
    for name in result[FILES]:
        path = complete / name
        check_file(path, result)
        change_a_digit(path)
        with pytest.raises(ValueError, match=f"{name} was changed after the run ended"):
            check_file(path, result)
        check_file(path, {})  # of an earlier version
        path.unlink()
        with pytest.raises(ValueError, match="put it back, or train the run again"):
            check_file(path, result)
    assert file_digests(complete) == {}


def test_events_that_are_not_as_the_run_left_them_are_named(complete):
    own, final = complete / "events.out.tfevents.1", complete / "events.out.tfevents.2"
    own.write_bytes(b"curves")
    final.write_bytes(b"scores")
    result = {FILES: file_digests(complete)}
    assert changed_events(complete, result) == []
    foreign = complete / "events.out.tfevents.3"
    foreign.write_bytes(b"curves")
    own.write_bytes(b"curve5")
    final.unlink()  # whoever makes room may do so
    warnings = changed_events(complete, result)
    assert len(warnings) == 2
    for warning, path in zip(warnings, (own, foreign), strict=True):
        assert f"{path} was changed after the run ended, or belongs to" in warning
    del result[FILES][own.name], result[FILES][final.name]
    assert changed_events(complete, result) == []  # of an earlier version
    assert changed_events(complete, {}) == []  # the run has not ended


def test_a_run_with_a_changed_configuration_is_left_out(complete):
    change_a_digit(complete / "config.yaml")
    runs = load_runs(complete.parent)
    assert list(runs["seed"]) == [0]
    ((named, reason),) = runs.attrs["unreadable"]
    assert named == str(complete)
    assert "config.yaml was changed after the run ended" in reason


def test_a_changed_origin_is_unknown(complete):
    assert loaded(complete)["environment.packages.torch"]
    change_a_digit(complete / "environment.json")
    assert "environment.packages.torch" not in loaded(complete)


def test_changed_logs_are_named_and_left_out(complete):
    runs = load_runs(complete.parent)
    metrics = ["val/accuracy"]
    assert curve_warnings(runs, metrics) == []
    for name, read in (
        ("metrics.csv", lambda: read_curves(runs, metrics)),
        ("statistics.csv", lambda: read_layers(runs)),
    ):
        assert set(read()["index"]) == {0, 1}
        change_a_digit(complete / name)
        assert set(read()["index"]) == {0}
        warnings = curve_warnings(runs, metrics)
        assert warnings[-1].startswith(f"{name} ")
        assert str(complete) in warnings[-1]
    assert len(warnings) == 2
    assert len(curve_warnings(runs, [])) == 1  # the statistics
