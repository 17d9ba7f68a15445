"""The command `plan`."""

import pytest
from compare.helpers import write_seeds

from normlab.planning.cli import main
from normlab.planning.pilot import read_pilot

NONE = [0.90, 0.92, 0.94, 0.91, 0.93]
GAINS = [0.01, 0.02, 0.0, 0.03, 0.015]


@pytest.fixture
def folder(tmp_path):
    custom = [value + gain for value, gain in zip(NONE, GAINS, strict=True)]
    layer = [value + 3 * gain for value, gain in zip(NONE, GAINS, strict=True)]
    return write_seeds(tmp_path, {"none": NONE, "custom": custom, "layer": layer})


def test_numbers_alone_answer(capsys):
    main(["--effect", "0.006", "--sd", "0.004"])
    printed = capsys.readouterr().out
    assert "The arm is better: power at a true difference of 0.0060" in printed
    assert "80% power: 7 seeds (simulated 0.8" in printed
    assert "Spread: SD 0.0040, taken as known." in printed


def test_a_pilot_knows_spread_design_and_contrasts(folder):
    pilot = read_pilot([folder], {"baseline": "none"})
    assert pilot.names == "layer against none"
    assert (pilot.n, pilot.design, pilot.contrasts) == (5, "paired", 2)
    # The gains of layer are three times those of custom, with an SD of 0.0112.
    assert pilot.spread.of_differences == pytest.approx(3 * 0.0111803, rel=1e-4)


def test_the_answer_says_how_sure_the_pilot_is(folder, capsys):
    words = ["--arms", "custom", "--margin", "3%", "--simulations", "200"]
    main([str(folder), "--baseline", "none", *words])
    printed = capsys.readouterr().out
    assert "The arms are equivalent within ±0.0276" in printed
    assert "from 5 seeds of the pilot (custom against none)" in printed
    assert "with probability 0.8 it is at most 1.56 times as large" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--effect", "1"], "the spread must come either from a pilot, a folder of"),
        (["--sd", "1"], "--effect must be given: the difference that is to be found"),
        (["--sd", "0", "--effect", "1"], "--sd must be above 0: without a spread"),
        (
            ["--sd", "1", "--margin", "inf"],
            "--margin must be a number such as 0.005 if",
        ),
        (
            ["--sd", "1", "--effect", "inf"],
            "--effect must be a number of at most 1e+100",
        ),
        (["--sd", "nan", "--effect", "1"], "--sd must be a number of at most 1e+100"),
        (["--sd", "1e200", "--effect", "1"], "--sd must be a number of at most 1e+100"),
        (["--sd", "1", "--effect", "1", "--level", "0"], "--level must be between 0"),
        (
            ["--sd", "1", "--effect", "1", "--contrasts", "0"],
            "--contrasts and --simulations must be at least 1",
        ),
        (
            ["--sd", "1", "--effect", "1", "--by", "norm"],
            "--by must come with the runs of a pilot",
        ),
        (["--sd", "1", "--margin", "5%"], "--margin must be a number such as 0.005 if"),
        (
            ["--sd", "1", "--effect", "1", "--margin", "2"],
            "--effect must leave the claim higher true: with a difference of 1 and a",
        ),
        (
            ["--sd", "1", "--effect", "1", "--claim", "equal"],
            "--margin must be above 0 for the claim equal",
        ),
    ],
)
def test_mistakes_take_one_line(capsys, words, message):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {message}")


def test_a_pilot_of_two_seeds_is_too_small(tmp_path, capsys):
    folder = write_seeds(tmp_path, {"none": NONE[:2], "custom": NONE[:2]})
    with pytest.raises(SystemExit):
        main([str(folder), "--effect", "0.01"])
    assert "a pilot must have at least 3 finished runs" in capsys.readouterr().err
