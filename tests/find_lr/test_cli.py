"""The command `find-lr`."""

import pytest
from PIL import Image

from normlab.find_lr import range_test
from normlab.find_lr.cli import main
from normlab.find_lr.range_test import evaluate_losses, geometric_rates


@pytest.fixture
def tested(monkeypatch, tmp_path):
    """The configuration and arguments of the last range test, which takes no time."""
    monkeypatch.chdir(tmp_path)
    seen = {}

    def pretend(config, lowest, highest, steps):
        seen.update(config=config, rates=(lowest, highest), steps=steps)
        rates = geometric_rates(lowest, highest, steps)
        losses = [2.0] * 10 + [1.0] * (steps - 10)
        return evaluate_losses(rates, losses, has_diverged=False)

    monkeypatch.setattr(range_test, "range_test", pretend)
    return seen


def test_the_words_are_those_of_training(tested, tmp_path, capsys):
    words = ["model=lenet5", "dataset.image_size=28", "norm=group", "--steps", "50"]
    main([*words, "optimizer.lr=0.3", "--highest", "2", "--out", "found.png"])
    config = tested["config"]
    assert (config["choices"]["norm"], config["optimizer"]["lr"]) == ("group", 0.3)
    assert (tested["rates"], tested["steps"]) == ((1e-6, 2.0), 50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "suggestion  optimizer.lr=1.9e-05"
    assert "does not diverge up to 2" in lines[1]
    with Image.open(tmp_path / "found.png") as image:
        assert image.size == (750, 480)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nomr=group"], "did you mean 'norm'?"),
        (["--out", "found.txt"], "--out must end in .png, .svg or .pdf, got found.txt"),
        (["--out", "no/found.png"], "--out must lie in a folder that exists"),
        (["norm=group,none"], "norm"),
    ],
)
def test_mistakes_end_in_a_line_and_write_nothing(
    tested, tmp_path, capsys, words, message
):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_working_folder_is_replaced_unless_it_is_named(tested, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("1")
    (tmp_path / "find_lr.png").symlink_to(precious)
    main(["--steps", "50"])
    assert precious.read_text() == "1"
    figure = (tmp_path / "find_lr.png").read_bytes()
    (tmp_path / "named.png").symlink_to(precious)
    main(["--steps", "50", "--out", "named.png"])
    assert precious.read_bytes() == figure
