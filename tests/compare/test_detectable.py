"""The smallest difference that some seeds would show."""

import math

import numpy as np
import pytest
from scipy import stats

from normlab.compare.contrasts import measure, with_verdicts
from normlab.compare.detectable import detectable_difference
from normlab.compare.effects import sample_size, sign_flip_power
from normlab.compare.exact_tests import sign_flip_p
from normlab.compare.samples import Sample


def test_all_of_six_pairs_must_have_one_sign():
    # P(all positive) = Phi(d)^6 = 0.8 at d = 1.79.
    effect = stats.norm.ppf(0.8 ** (1 / 6))
    assert detectable_difference(6, 1.0, "paired") == pytest.approx(effect, abs=0.06)
    assert detectable_difference(6, 0.01, "paired") == pytest.approx(
        0.01 * detectable_difference(6, 1.0, "paired")
    )


@pytest.mark.parametrize("n", [6, 7, 9, 12])
def test_the_power_at_the_detectable_difference_is_the_one_wanted(n):
    effect = detectable_difference(n, 1.0, "paired", power=0.9)
    assert sign_flip_power(effect, n, 0.05) == pytest.approx(0.9, abs=0.001)
    random = np.random.default_rng(7)
    differences = effect + random.standard_normal((1500, n))
    shown = [sign_flip_p(row) < 0.05 for row in differences]
    assert np.mean(shown) == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize(("n", "effect"), [(17, 1.0), (26, 0.8), (64, 0.5)])
def test_independent_runs_show_what_those_of_r_show(n, effect):
    # power.t.test finds these n for these effects, so n - 1 show a bit less.
    assert detectable_difference(n, 1.0, "independent") <= effect
    assert detectable_difference(n - 1, 1.0, "independent") > effect


@pytest.mark.parametrize("design", ["paired", "independent", "folds"])
@pytest.mark.parametrize("contrasts", [1, 3])
def test_it_is_the_inverse_of_the_number_of_seeds(design, contrasts):
    effect = detectable_difference(20, 2.0, design, contrasts=contrasts)
    found = sample_size(effect * 1.0001, 2.0, design, contrasts=contrasts)
    assert found == 20


def test_what_cannot_be_shown_is_infinite_or_unknown():
    assert math.isinf(detectable_difference(5, 1.0, "paired"))
    assert math.isinf(detectable_difference(6, 1.0, "paired", contrasts=2))
    assert math.isnan(detectable_difference(9, 0.0, "paired"))
    assert math.isnan(detectable_difference(9, math.nan, "paired"))


def sentence_of(sample):
    names = {"where": "", "arm": "custom", "baseline": "none", "margin": math.nan}
    counts = ("runs", "diverged", "failed", "without_metric")
    lost = {f"{name}{end}": 0 for name in counts for end in ("", "_baseline")}
    row = measure(sample, [], True, 0.05) | names | lost
    row |= {"doubt": "", "trained_p": math.nan}
    return with_verdicts([row], "test/accuracy", 0.05)["sentence"].iloc[0]


def test_open_questions_say_what_would_have_been_shown():
    random = np.random.default_rng(0)
    arm, baseline = 0.9 + 0.01 * random.standard_normal((2, 10))
    spread = (arm - baseline).std(ddof=1)
    difference = detectable_difference(10, spread, "paired")
    assert sentence_of(Sample(arm, baseline, paired=True)).endswith(
        f" With 80 % power, 10 pairs show a difference of {difference:.4f}."
    )
    needed = detectable_difference(6, (arm - baseline)[:4].std(ddof=1), "paired")
    few = Sample(arm[:4], baseline[:4], paired=True)
    assert (
        "run at least 6 seeds. With 80 % power, 6 pairs show a difference of "
        f"{needed:.4f}, if they spread like these."
    ) in sentence_of(few)
