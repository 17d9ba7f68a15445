"""Files of JSON objects to which several processes append."""

import multiprocessing
import os

import pytest

from normlab.sweeps.json_lines import JsonLines


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines.jsonl"


def test_objects_come_back_once_in_order(path):
    reader = JsonLines(path)
    assert reader.read_new() == []
    JsonLines(path).append([{"a": 1}, {"a": 2}])
    assert reader.read_new() == [{"a": 1}, {"a": 2}]
    JsonLines(path).append([{"b": "ü\n"}])
    assert reader.read_new() == [{"b": "ü\n"}]
    assert reader.read_new() == []


def test_a_line_that_is_being_written_is_read_when_it_is_complete(path):
    reader = JsonLines(path)
    path.write_text('{"a": 1}\n{"a": ')
    assert reader.read_new() == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert reader.read_new() == [{"a": 2}]


def test_what_a_killed_process_left_of_a_line_is_no_object(path):
    path.write_text('{"a": 1}\n{"a": 2')
    JsonLines(path).append([{"a": 3}])
    assert JsonLines(path).read_new() == [{"a": 1}, {"a": 3}]


def test_values_that_are_no_objects_are_left_out(path):
    path.write_text('[1]\n7\n{"a": 1}\nnull\n')
    assert JsonLines(path).read_new() == [{"a": 1}]


def test_a_pipe_is_refused(path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match="must be a regular file"):
        JsonLines(path).read_new()


def test_what_a_link_leads_to_is_not_appended_to(path, tmp_path):
    target = tmp_path / "precious"
    target.write_text("1")
    path.symlink_to(target)
    with pytest.raises(ValueError, match="must be a regular file"):
        JsonLines(path).append([{"a": 1}])
    assert target.read_text() == "1"


def append_many(path, name):
    for number in range(50):
        JsonLines(path).append([{"name": name, "number": number}])


def test_processes_do_not_tear_each_others_lines(path):
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=append_many, args=(path, name)) for name in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = JsonLines(path).read_new()
    for name in "ab":
        numbers = [line["number"] for line in lines if line["name"] == name]
        assert numbers == list(range(50))
