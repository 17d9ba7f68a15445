"""Claims of studies rest on the same numbers, whichever way their runs were trained."""

import pandas as pd
import pytest

from normlab.compare import load_runs
from normlab.stacked.driver import train_stack
from normlab.stacked.grouping import Options
from normlab.study.definition import read_study
from normlab.study.verdict import answer
from normlab.training.experiment import run, run_with_output
from stacked.runs import SMALL, plain

CUT = (
    *(
        "dataset=digits",
        "trainer.max_epochs=2",
        "logger=[]",
        "scores.predictions=false",
    ),
    *("statistics.every_n_epochs=0", "trainer.max_samples=200"),
)
ARMS = {
    "custom_equals_torch": ("torch", "custom"),
    "higher_learning_rates": ("none", "custom"),
}
SETTINGS = {
    "custom_equals_torch": [("seed=0",), ("seed=1",), ("seed=2",)],
    "higher_learning_rates": [
        ("seed=0", "optimizer.lr=0.1"),
        ("seed=1", "optimizer.lr=0.1"),
        ("seed=0", "optimizer.lr=0.3"),
        ("seed=1", "optimizer.lr=0.3"),
    ],
}


def stacks_of(compose, study, folder):
    """The configurations of a cut of a study, one list for every norm."""
    own = [word for word in SMALL if not word.startswith("trainer.")]
    words = (f"study={study}", *own, *CUT, f"paths.outputs={folder}")
    stacks = []
    for norm in ARMS[study]:
        configs = []
        for settings in SETTINGS[study]:
            config = compose(*words, f"norm={norm}", *settings)
            configs.append(plain(config))
        stacks.append(configs)
    return stacks


def judged(study, folder):
    """The numbers that the claims of a study rest on, and their verdicts."""
    _, claims, _ = answer(read_study(study), load_runs(folder))
    numbers = []
    for claim in claims:
        numbers += [claim.comparison.summaries, claim.comparison.contrasts]
    return numbers, [claim.verdict for claim in claims]


@pytest.mark.parametrize("study", ARMS)
def test_claims_rest_on_the_same_numbers(compose, tmp_path, study):
    together, alone = tmp_path / "together", tmp_path / "alone"
    for configs in stacks_of(compose, study, together):
        ended = train_stack(configs, run_with_output, Options(members=8))
        for result in ended.results:
            assert result["stacked"] == len(configs)
    for configs in stacks_of(compose, study, alone):
        for config in configs:
            run(config)
    found, verdicts = judged(study, together)
    wanted, wanted_verdicts = judged(study, alone)
    assert verdicts == wanted_verdicts
    for one, two in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(one, two, rtol=1e-6, atol=1e-9)
