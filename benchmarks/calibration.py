"""How often the verdicts of a comparison are wrong: thousands of made-up experiments.

    python benchmarks/calibration.py [--experiments 2000] [--out FILE] [--only WORD]

Every row makes experiments in which the truth is known, lets the functions of
`normlab.compare` and `normlab.study` judge them, and counts wrong verdicts. The
interval beside each rate is its own 95 % interval (Clopper and Pearson). Seeds are
fixed. It takes some minutes on one core and writes docs/results/calibration.md; with
--only it replaces the sections with this word in their title.
"""

import argparse
import time
from pathlib import Path

from verdicts.claims import direction_table, equal_claim_table, not_worse_table
from verdicts.derived import derived_table
from verdicts.differences import (
    divergence_table,
    family_table,
    improvement_table,
    looks_table,
    verdict_table,
    wins_table,
)
from verdicts.equivalence import equivalence_table
from verdicts.rates import rate_table
from verdicts.ratios import ratio_table
from verdicts.selection import selection_table
from verdicts.values import value_table

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "calibration.md"
CLAIMS = 4  # a claim takes longer, and has that many times fewer experiments
HEAD = """# How often the verdicts are wrong

This page is written by `python benchmarks/calibration.py`: {experiments:,} made-up
experiments in every cell ({claims:,} in those of claims), judged by the functions that
judge real runs. The nominal level is 0.05 where nothing else is said. In parentheses is
the 95 % interval of each rate, which is known no better than the number of experiments
allows. Where rates are beyond their level, the text above the table says so in bold,
and a report warns.
"""
SECTIONS = {
    "A difference where the means are equal": (
        """"Better" and "worse" have 0.025 each. The tests hold it as long as the arms
have one shape. Against **a tail of bad runs in one arm only** no test of a mean can: a
handful of runs misses the tail, and the arm looks better than its mean. It *is* the
better one in most pairs, and that is what the verdict says there: from a threefold
spread on, a test of the wins must agree, and the sentence and a warning name both
spreads, the median and the wins. The last column is the interval of the difference.""",
        verdict_table,
    ),
    "A tail of bad runs, and each arm wins half of the pairs": (
        """Here the means differ and the wins do not: "better" for the arm with the
tail would be wrong by either measure. Nominal 0.025.""",
        wins_table,
    ),
    "Equivalence where the difference is the margin": (
        """Two one-sided tests, and no "equivalent" below 10 pairs, with spreads that
differ twofold, with skewed differences (skewness beyond ±1), or with diverged runs.
**Collapses that no run showed** cannot be excluded by any test; every sentence about
equivalence says how frequent they may be: 26 % of runs for 10 pairs, 14 % for 20.""",
        equivalence_table,
    ),
    "Diverged runs": (
        """Ranks decide, with diverged and failed runs as the worst. Nominal 0.025.""",
        divergence_table,
    ),
    "Several arms": (
        """Holm's correction over all contrasts, and the interval at the confidence of
its step. It agrees with the corrected test of the mean by construction; the column of
disagreements counts samples whose spreads differ threefold by chance, where the wins
must agree too, as their sentence says.""",
        family_table,
    ),
    "A claim of a direction, with a margin of 0.005": (
        """The limit is the margin: at a true difference of 0.005 each verdict may be
wrong in 0.025 of the studies. The differences have an SD of 0.0028, and n = 10.""",
        direction_table,
    ),
    "A claim of equality where every difference is the margin": (
        """All contrasts must pass for "supported"; one suffices for "contradicted",
whose intervals therefore hold for all at once. n = 10.""",
        equal_claim_table,
    ),
    "A claim of non-inferiority, with a margin of 0.005": (
        """"Not worse" is no longer true if the arm is worse by the margin, a difference
of -0.005: nominal 0.025 for each verdict there. The differences of normal arms have an
SD of 0.0028, and n = 10. As with equality, the answer is "cannot tell" if spreads
differ at least twofold or differences are skewed. **A tail of bad runs in one arm
only**, which few runs reveal, leads to "supported" too often.""",
        not_worse_table,
    ),
    "An interaction and a slope that the arms share": (
        """Two arms at two values of a setting (interaction) or at five (slope over
their logarithm), with equal gains of both arms: nominal 0.025 each, n = 10. All rates
are near it or below, also if one arm spreads four times as much at one value.""",
        derived_table,
    ),
    "A claim about the value 0, with a margin of 0.005": (
        """"Equal" is no longer true if the true mean is 0.005, and "higher" means
higher than 0.005. At this mean, "equal" has a nominal 0.05 for "supported" and 0.025
for "contradicted", and "higher" 0.025 each. The runs have an SD of 0.002, and n = 10.
If the runs are skewed, the answer is "cannot tell". **Collapses that no run showed**,
and less so a tail of bad runs, lower the true mean below what any interval can
know.""",
        value_table,
    ),
    "A claim that a target is reached at least twice as fast": (
        """The limit is a ratio of 2: there each verdict may be wrong in 0.025 of the
studies. The logarithms of the ratios have an SD of 0.1, and n = 10. Training ends
before some runs reach the target. Such a run counts as far as possible against the
verdict, so that rates are below the nominal ones, and the power is smaller.""",
        ratio_table,
    ),
    "The interval of P(better)": (
        """Nominal: at least 0.95.""",
        improvement_table,
    ),
    "Every arm at its best value": (
        """Both arms are equal at their best value; each chooses it by its mean score on
validation over ten seeds. The correlation is that of validation and test scores over
runs.
**Tested on the same seeds, the larger grid wins too often**: sentences name the number
of values that were tried, and a warning names unequal grids. A test on
[other seeds](../how-to/learning-rates.md) (`--confirm`, `confirm_seeds`) keeps the
level. The bias is that of the difference, in SD of one run.""",
        selection_table,
    ),
    "Arms at a multiple of the largest stable rate of one": (
        """Two arms are equal at all rates at which both train. Validation scores of the
baseline say which rate that is, and a run trains within two SD of its best one, so that
noise often decides. Nominal 0.025 each. The bias is that of the difference.""",
        rate_table,
    ),
    "Looking while seeds are added": (
        """No comparison can know how often it was made. **Rates of several looks are
beyond the level**, and the remedy is a plan: a [study](../how-to/study.md) answers
once, from all seeds of its grid, or at planned looks that share the level.""",
        looks_table,
    ),
}
CLAIM_TABLES = (
    direction_table,
    equal_claim_table,
    not_worse_table,
    ratio_table,
    value_table,
)


def document(experiments: int) -> str:
    """Return the page, with every table measured again."""
    parts = [HEAD.format(experiments=experiments, claims=experiments // CLAIMS)]
    for title in SECTIONS:
        parts.append(section(title, experiments))
    return "\n".join(parts)


def section(title: str, experiments: int) -> str:
    """Return one section of the page, with its table measured again."""
    text, measured = SECTIONS[title]
    started = time.monotonic()
    if measured in CLAIM_TABLES:
        experiments //= CLAIMS
    shown = measured(experiments)
    print(f"{title}: {time.monotonic() - started:.0f} s", flush=True)
    return f"## {title}\n\n{text}\n\n{shown}\n"


def with_measured(page: str, word: str, experiments: int) -> str:
    """The page with the sections measured again that have a word in their title.

    The other sections stay as they are.
    """
    head, *parts = page.split("\n## ")
    stored = {part.partition("\n")[0]: f"## {part}" for part in parts}
    shown = [head]
    for title in SECTIONS:
        if word in title or title not in stored:
            stored[title] = section(title, experiments)
        shown.append(stored[title].rstrip() + "\n")
    return "\n".join([shown[0].rstrip() + "\n", *shown[1:]])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    parser.add_argument(
        "--only",
        metavar="WORD",
        help="measure the sections with this word in their title only",
    )
    options = parser.parse_args()
    if options.only:
        page = options.out.read_text(encoding="utf-8")
        text = with_measured(page, options.only, options.experiments)
    else:
        text = document(options.experiments)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
