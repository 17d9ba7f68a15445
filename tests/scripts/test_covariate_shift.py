"""The demonstration shows what its text says."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "covariate_shift.py"


def test_the_shift_passes_through_training_statistics_only():
    found = runpy.run_path(str(SCRIPT))["outputs"]()
    moments = {
        name: (parts[1].mean().item(), parts[1].std().item())
        for name, parts in found.items()
    }
    assert moments["inputs"] == pytest.approx((2.0, 1.5), abs=0.02)
    assert moments["batch norm, training statistics"] == pytest.approx(
        (2.0, 1.5), abs=0.02
    )
    assert moments["batch norm, recomputed statistics"] == pytest.approx(
        (0.0, 1.0), abs=0.02
    )
    assert moments["layer norm"] == pytest.approx((0.0, 1.0), abs=0.01)


@pytest.fixture
def shift(monkeypatch):
    """shift(path): runs `python scripts/covariate_shift.py --out path`."""

    def run(path):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(path)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def test_the_figure_goes_into_a_new_folder(shift, tmp_path, capsys):
    path = tmp_path / "new" / "shift.png"
    shift(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.endswith(f"figure: {path}\n")


@pytest.mark.parametrize(
    ("name", "why"),
    [("file/shift.png", "File exists"), ("shift.odd", "Format 'odd' is not")],
)
def test_a_path_that_cannot_be_written_is_named(shift, tmp_path, capsys, name, why):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        shift(tmp_path / name)
    output = capsys.readouterr()
    assert (end.value.code, output.out) == (2, "")
    assert output.err.startswith(
        f"error: --out must name a figure that can be written, got {tmp_path / name}: "
    )
    assert why in output.err
