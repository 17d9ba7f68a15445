"""The document of results: what the runs say, and what the notebook printed."""

import numpy as np
import pandas as pd
import pytest
from compare.helpers import write_run
from reproduction.document import (
    Section,
    absent,
    document,
    networks,
    origin,
    section,
)
from reproduction.experiments import read_plan
from reproduction.notebook import points
from reproduction.tables import first_epochs, rounded_to

from normlab.compare.comparison import compare
from normlab.compare.runs import load_runs

THREE_EPOCHS = {"trainer.max_epochs": 3}
ENTRY = {
    "title": "A title",
    "sweep": {"norm": "none,torch"},
    "contrast": "torch",
    "comparisons": [{"by": ["norm"], "baseline": "none"}],
    "curves": ["train/loss"],
    "reach": "train/loss",
    "notebook": {
        "arms": {
            "none": {"train/loss": [0.35, 0.196], "test/accuracy": 0.9},
            "torch": {"train/loss": [0.1], "test/accuracy": 0.99},
        },
        "flaws": "It was one run.",
    },
}


@pytest.fixture
def made(tmp_path):
    """Six seeds; losses by epoch: none 0.3, about 0.195, 0.15; torch 0.2, 0.15, 0.1."""
    for seed in range(6):
        write_run(
            tmp_path,
            "none",
            seed,
            0.90 + 0.001 * seed,
            settings=THREE_EPOCHS,
            curve=[0.7, 0.8 + 0.002 * seed, 0.85],
        )
        folder = write_run(
            tmp_path,
            "torch",
            seed,
            0.92 + 0.0012 * seed,
            settings=THREE_EPOCHS,
            curve=[0.8, 0.85, 0.9],
        )
    runs = load_runs(folder.parent)
    return section(
        "demo",
        ENTRY,
        runs,
        "python train.py -m experiment=demo",
        tmp_path / "figures",
        ["A remark."],
    )


def test_the_origin_of_runs_is_told():
    runs = pd.DataFrame(
        {
            "environment.git.commit": ["0123456789", "0123456789", "abcdefabcd"],
            "environment.packages.torch": ["2.15.0"] * 3,
            "environment.device.threads": [1, 1, None],
            "environment.platform": ["Linux-6.1-x86_64"] * 3,
        }
    )
    assert origin(runs) == (
        "The 3 runs were made with commit `0123456` and `abcdefa`, PyTorch 2.15.0, "
        "threads 1, platform Linux."
    )
    assert origin(runs[[]]) == ""


def test_arms_stand_beside_what_the_notebook_printed(made):
    assert (
        "| none | 0.9000 | 6 | 0.9025 | 0.0019 | 0.9005 to 0.9045 | 0.9000 | 0.9050 "
        "| 0 | 17,226 |" in made.text
    )
    assert "| torch | 0.9900 | 6 | 0.9230 |" in made.text
    assert "diverged" not in made.text.split("\n\n")[4]
    assert (
        "- torch does better than none: its test/accuracy is 0.0205 higher" in made.text
    )


def test_the_interval_tells_whether_it_contains_the_notebooks_difference(made):
    assert (
        "none is +9.00 points. Here it is +2.05 points, 23 % of that. A further pair "
        "of runs is expected from +1.95 to +2.15, which does not hold the notebook's."
        in made.text
    )
    assert made.overview[1] == "+9.00 points of test accuracy"
    assert made.overview[2].startswith(
        "+2.05 points of test accuracy (+2.00 to +2.10, 6 seeds), torch against none"
    )
    assert made.overview[3] == (
        "torch does better than none; the notebook's difference is outside the range "
        "of single pairs"
    )


def test_losses_by_epoch(made, tmp_path):
    assert "| 1 | 0.300 (0.000) | 0.350* | 0.200 (0.000) | 0.100* |" in made.text
    assert "| 2 | 0.195 (0.004) | 0.196 | 0.150 (0.000) | – |" in made.text
    assert (
        "with the same seed has after 3, median and range over seeds: "
        "torch 2 (2 to 2), "
        "the notebook's 1." in made.text
    )
    assert (tmp_path / "figures" / "demo.png").stat().st_size > 5000
    assert made.text.endswith("\n\nNote: A remark.")


def test_epochs_until_a_loss():
    losses = pd.DataFrame(
        [[3.0, 2.0, 1.0], [3.0, 3.0, 3.0], [1.0, 1.0, 1.0]],
        index=[0, 1, 2],
        columns=[1, 2, 3],
    )
    found = first_epochs(losses, pd.Series([2.0, 2.0], index=[0, 1]))
    assert found.tolist() == [2.0, np.inf]  # seed 2 has no partner


FOLDS = {
    **{key: value for key, value in ENTRY.items() if key not in ("curves", "reach")},
    "comparisons": [{"by": ["norm"], "baseline": "none", "metric": "test/rmse"}],
    "words": {"torch": "PyTorch's"},
    "notebook": {"printed": "one fold", "flaws": "It was one fold."},
}


def write_folds(folder, norm, values, seeds=1, num_folds=5):
    for fold, value in enumerate(values):
        for seed in range(seeds):
            settings = {"dataset.fold": fold, "dataset.num_folds": num_folds}
            made = write_run(
                folder,
                norm,
                seed,
                None,
                settings=settings,
                metrics={"test/rmse": value},
            )
    return made


def test_folds_have_intervals_and_no_sentence_of_a_test(tmp_path):
    for norm, first, step in (("none", 50.0, 1.0), ("torch", 53.0, 2.0)):
        folder = write_folds(
            tmp_path, norm, [first + step * fold for fold in range(5)], seeds=2
        )
    runs = load_runs(folder.parent)
    made = section(
        "demo", FOLDS, runs, "python train.py norm=torch", tmp_path / "figures"
    )
    # Differences 3, 4, 5, 6, 7: mean 5, SD 1.58, error 1.58 sqrt(1/5 + 1/4) = 1.06,
    # t(4) = 2.776
    assert "| PyTorch's | 5 | +5.0 | +2.1 to +7.9 |" in made.text
    assert "| PyTorch's | 5 | 2 | 57.0 | 3.2 |" in made.text
    assert "no test is made with fewer than 6 folds" in made.text
    assert "norm=torch" in made.text  # commands stay as they are
    assert made.overview == [
        "A title",
        "one fold",
        "+5.0 test/rmse (+2.1 to +7.9, 5 folds), PyTorch's against none",
        "the interval lies above 0; no test is made with fewer than 6 folds",
    ]
    assert set(compare(runs, **FOLDS["comparisons"][0]).contrasts["verdict"]) == {
        "cannot tell"
    }


def test_six_folds_are_enough_for_a_word(tmp_path):
    write_folds(tmp_path, "none", [50.0, 51, 52, 53, 54, 55], num_folds=6)
    runs = load_runs(
        write_folds(tmp_path, "torch", [53.0, 55, 57, 59, 61, 63], num_folds=6).parent
    )
    made = section("demo", FOLDS, runs, "python train.py", tmp_path / "figures")
    assert made.overview[3] == "PyTorch's does worse than none"
    assert (
        "- PyTorch's does worse than none: its test/rmse is 5.5000 higher" in made.text
    )


def test_seeds_and_folds_that_an_arm_lacks_are_counted(tmp_path):
    folder = write_folds(tmp_path, "none", [50.0, 51, 52, 53, 54], seeds=3)
    write_folds(tmp_path, "torch", [53.0, 55, 57, 59], seeds=2)
    write_folds(tmp_path, "torch", [53.0], seeds=3)
    made = section(
        "demo", FOLDS, load_runs(folder.parent), "python train.py", tmp_path / "figures"
    )
    assert "| none | 5 | 3 | 52.0 |" in made.text
    assert "| PyTorch's | 4 | 2 to 3 | 56.0 |" in made.text
    assert "| PyTorch's | 4 | +4.5 |" in made.text


@pytest.mark.parametrize(
    ("shift", "says"),
    [(-0.02, "lies below 0"), (0.0001, "holds 0"), (0.02, "lies above 0")],
)
def test_few_seeds_have_no_word_of_a_test_either(tmp_path, shift, says):
    for seed in range(3):
        write_run(tmp_path, "none", seed, 0.90 + 0.001 * seed, curve=[0.5, 0.6])
        folder = write_run(
            tmp_path,
            "torch",
            seed,
            0.90 + shift + 0.001 * seed * (-1) ** seed,
            curve=[0.5, 0.6],
        )
    made = section(
        "demo", ENTRY, load_runs(folder.parent), "python train.py", tmp_path / "figures"
    )
    assert made.overview[3] == (
        f"the interval {says}; no test is made with fewer than 6 seeds; "
        "the notebook's difference is outside the range of single pairs"
    )


def test_one_arm_alone_has_its_row_and_no_conclusion(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "torch", seed, 0.5, status="failed")
        folder = write_run(
            tmp_path, "none", seed, 0.90 + 0.001 * seed, curve=[0.5, 0.6]
        )
    runs = load_runs(folder.parent)
    both = section("demo", ENTRY, runs, "python train.py", tmp_path / "figures")
    alone = section(
        "demo",
        ENTRY,
        runs[runs["norm"] == "none"],
        "python train.py",
        tmp_path / "figures",
    )
    for made in (both, alone):
        assert "| none | 0.9000 | 3 | 0.9010 |" in made.text
        assert made.overview[2:] == ["too few runs", "cannot tell"]


def test_both_printed_runs_stand_beside_the_arm_of_their_network(tmp_path):
    """Both of the notebook's networks had four norms; of one without it has no run."""
    for seed in range(7):
        for norm, value, layers in (
            ("none", 0.62, 0),
            ("torch", 0.64, 4),
            ("custom", 0.64, 4),
        ):
            value += 0.001 * (seed + layers * seed % 3)
            folder = write_run(
                tmp_path,
                norm,
                seed,
                value,
                curve=[0.4, 0.5],
                result={"num_norm_layers": layers},
            )
    entry = read_plan()["lenet_cifar10"]
    made = section(
        "lenet_cifar10",
        entry,
        load_runs(folder.parent),
        "python train.py",
        tmp_path / "figures",
    )
    assert "| none | – | 7 |" in made.text
    assert "| torch | 0.6112, 0.6215 | 7 |" in made.text
    assert "notebook's difference" not in made.text
    assert (
        made.overview[1]
        == "−1.03 points of test accuracy, between two runs of one network"
    )
    assert made.overview[3] == "torch does better than none"
    headings = 'notebook, its "with" | notebook, its "without"'
    heading = f"| epoch | none | custom | torch | {headings} |"
    assert made.text.count(heading) == 2
    assert (
        "| 1 | 0.600 (0.000) | 0.600 (0.000) | 0.600 (0.000) | 1.631* | 1.604* |"
        in made.text
    )


def test_networks_are_counted_without_runs():
    """The notebook's `without` had 4 norms and 62,458 parameters; ours has none."""
    entry = read_plan()["lenet_cifar10"]
    counted = [("none", 0, 62_006), ("torch", 4, 62_458), ("custom", 4, 62_458)]
    assert networks("lenet_cifar10", entry) == counted
    made = absent("lenet_cifar10", entry, "python train.py", "no data")
    assert "| none | 0 | 62,006 |" in made.text
    assert made.overview[2:] == ["no result: no data", "–"]


def test_the_document_starts_with_all_conclusions():
    text = document(
        [
            Section(["a", "b|c", "d", "e"], "## One"),
            Section(["f", "g", "h", "i"], "## Two"),
        ]
    )
    assert text.startswith("# The notebooks' experiments\n")
    assert (
        text.index("| a | b\\|c | d | e |")
        < text.index("| f | g | h | i |")
        < text.index("## One")
    )


def test_numbers_have_the_digits_that_their_spread_allows():
    assert [
        rounded_to(3.95)(54.5174),
        rounded_to(0.0019)(0.9025),
        rounded_to(0.0)(0.5),
    ] == ["54.5", "0.9025", "0.5000"]
    assert rounded_to(120.0)(12345.6) == "12,346"
    assert [points(0.01492), points(-0.0103)] == ["+1.49", "−1.03"]
