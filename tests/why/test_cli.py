"""The command writes a page, says what came out, and explains mistakes."""

import pytest

from normlab.why import explanation
from normlab.why.cli import default_folder, main, parser

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
FEW = ["--steps", "2", "--points", "2", "--samples", "8", "--grid", "3"]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The variables that the command sets are as before when a test ends."""
    for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.setenv(name, "0")


@pytest.fixture
def no_figures(monkeypatch):
    """Spend no time on files of figures, which another test looks at."""
    monkeypatch.setattr(explanation, "save_drawing", lambda *_: [])


def test_the_command_writes_a_page(runs, tmp_path, capsys, no_figures):
    main([*map(str, runs), "--out", str(tmp_path / "why"), *FEW])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"page: {tmp_path / 'why' / 'why.html'}"
    assert any(line.startswith("The landscape along the gradient: ") for line in lines)
    assert any(line.startswith("missing: none: its norm keeps no") for line in lines)
    assert (tmp_path / "why" / "film.csv").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "2"], "error: --grid must be at least 3, got 2"),
        (["--grid", "20"], "error: --grid must be odd, so that the best state is"),
        (["--steps", "0"], "error: --steps must be at least 1, got 0"),
    ],
)
def test_impossible_numbers_are_explained(runs, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        main([str(runs[0]), *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_runs_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "nowhere"), *FEW])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_a_page_that_cannot_be_written_is_explained(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        main([str(runs[0]), "--out", str(tmp_path / "file"), *FEW])
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_pictures_go_beside_several_runs_and_into_a_single_one(tmp_path):
    one = tmp_path / "group" / "a"
    assert default_folder([one]) == one / "why"
    assert default_folder([one, tmp_path / "group" / "b"]) == tmp_path / "group" / "why"


def test_a_folder_that_nobody_has_named_must_not_be_a_link(tmp_path, capsys):
    precious = tmp_path / "precious"
    precious.mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / "why").symlink_to(precious)
    with pytest.raises(SystemExit) as end:
        main([str(run), *FEW])
    assert end.value.code == 2
    assert f"error: {run / 'why'} must not be a link" in capsys.readouterr().err
    assert list(precious.iterdir()) == []


def test_a_link_in_place_of_figures_is_refused_before_anything_is_measured(
    tmp_path, capsys
):
    (tmp_path / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as end:
        main(["no run", "--out", str(tmp_path), *FEW])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'figures'} must not be a link" in error


def test_defaults_of_the_command_are_those_of_the_settings():
    from normlab.why.measure import Settings

    options = parser().parse_args(["run"])
    settings = Settings()
    for name in ("steps", "points", "samples", "grid"):
        assert getattr(options, name) == getattr(settings, name)
