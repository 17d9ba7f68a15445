"""The arguments, the trust and the mistakes of the commands about stored runs."""

import argparse
import sys
from pathlib import Path

import pytest

from normlab.command_lines import (
    add_run,
    add_trust,
    load_trusted_code,
    mistakes_end,
)

NORM = """from normlab.norms.batch import BatchNorm
class Mine(BatchNorm):
    pass
"""


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_run(parser)
    add_trust(parser)
    return parser.parse_args(words)


def test_nobody_is_trusted_unless_named():
    options = parsed("outputs/run")
    assert options.run == Path("outputs/run")
    assert (options.trust, options.config_dir) == ([], None)
    assert load_trusted_code(options) == []


def test_packages_beside_the_folder_of_configurations_become_importable(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "conf"
    folder.mkdir()
    (tmp_path / "beside_the_configurations.py").write_text("VALUE = 3\n")
    words = ["run", "--config-dir", str(folder), "--trust", "beside_the_configurations"]
    assert load_trusted_code(parsed(*words)) == ["beside_the_configurations"]
    from beside_the_configurations import VALUE

    assert VALUE == 3


def test_norms_in_files_are_loaded_and_are_no_packages(tmp_path):
    file = tmp_path / "norms_of_the_command_line.py"
    file.write_text(NORM)
    words = ["run", "--trust", f"{file}:Mine", "packaging"]
    assert load_trusted_code(parsed(*words)) == ["packaging"]


def test_a_file_without_the_norm_is_a_mistake(tmp_path):
    file = tmp_path / "without_the_norm.py"
    file.write_text(NORM)
    with pytest.raises(ValueError, match="Yours"):
        load_trusted_code(parsed("run", "--trust", f"{file}:Yours"))


def test_a_folder_that_does_not_exist_is_a_mistake(tmp_path):
    words = ["run", "--config-dir", str(tmp_path / "none")]
    with pytest.raises(ValueError, match="--config-dir must be a folder"):
        load_trusted_code(parsed(*words))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("level must be below 1, got 2"), "--level must be below 1, got 2"),
        (FileNotFoundError(2, "No such file", "a.csv"), "No such file: 'a.csv'"),
    ],
)
def test_a_mistake_ends_the_command_with_one_line_and_exit_code_2(error, line, capsys):
    with pytest.raises(SystemExit) as end, mistakes_end({"level": "--level"}):
        raise error
    assert end.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert output.endswith(f"{line}\n")
    assert output.count("\n") == 1


def test_a_fault_of_the_program_is_no_mistake_of_the_user():
    with pytest.raises(KeyError), mistakes_end({}):
        raise KeyError("fault")
