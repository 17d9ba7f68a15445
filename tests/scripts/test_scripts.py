"""Scripts that are a command of the package answer as that command."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("evaluate.py", "Score the best state of a stored run again"),
        ("plan.py", "Say how many seeds a comparison needs. Experiments with a known"),
        ("predict.py", "Predict new samples with the best state of a stored run"),
        ("export.py", "Write the best network of a stored run for other programs"),
        ("find_lr.py", "Train for some steps with a growing learning rate, print"),
        ("check.py", "Examine a normalization layer and say in sentences what"),
        ("jobs.py", "Print the state of every run that was submitted to SLURM"),
        ("why.py", "Draw what a norm does in stored runs"),
        ("inspect_norms.py", "Print and draw scale, shift, running statistics"),
    ],
)
def test_a_script_shows_the_help_of_its_command(monkeypatch, capsys, name, sentence):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert end.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: {name} ")
    assert sentence in " ".join(output.split())
