"""Wrong batch norms are told what is wrong with them, at the right line.

The files in `wrong/` mark their lines: `# wrong: FAULT` behind a line, or in a line of
its own above it.
"""

import ast
import re
from pathlib import Path

import pytest

from normlab.check.examination import examine
from normlab.norms.loading import load_norm

WRONG = Path(__file__).parent / "wrong"
MARK = re.compile(r"# wrong: ([\w ]+)$")
WITHOUT_LINE = re.compile(r"wrong without a line: (\w+)")
HELPERS = ("Standardize", "Shared")
# What is only remarked upon, and is true of layers that are wrong in other ways.
REMARKS = {"half_overflow", "vmap_fails", "momentum_convention"}


def definitions(path):
    """Classes of a file to examine, and the nodes whose lines they use."""
    nodes = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]
    norms = [
        node
        for node in nodes
        if isinstance(node, ast.ClassDef) and node.name not in HELPERS
    ]
    return norms, [node for node in nodes if node not in norms]


def marks(path, nodes):
    """The faults that a file marks within some nodes, each with its line."""
    lines = path.read_text().splitlines()
    found = set()
    for node in nodes:
        for number in range(node.lineno, node.end_lineno + 1):
            text = lines[number - 1]
            if match := MARK.search(text):
                line = number + 1 if text.strip().startswith("#") else number
                found |= {(fault, line) for fault in match[1].split()}
            if match := WITHOUT_LINE.search(text):
                found.add((match[1], None))
    return found


def cases():
    for path in sorted(WRONG.glob("*.py")):
        norms, helpers = definitions(path)
        for norm in norms:
            expected = marks(path, [norm, *helpers])
            name = f"{path.stem}-{norm.name}"
            yield pytest.param(path, norm.name, expected, id=name)


CASES = list(cases())


def test_there_are_enough_of_them_and_every_fault_is_among_them():
    assert len(CASES) >= 30


@pytest.mark.parametrize(("path", "name", "expected"), CASES)
def test_each_gets_its_sentences_and_no_others(path, name, expected):
    examination = examine(load_norm(f"{path}:{name}"), like="batch")
    found = {(finding.fault, finding.line) for finding in examination.faults}
    assert found == expected, [finding.sentence for finding in examination.faults]
    assert {finding.fault for finding in examination.remarks} <= REMARKS
    for finding in examination.findings:
        assert not re.search(r"[{}]", finding.sentence + finding.fix)
        assert finding.sentence.endswith(".")


def examined(name):
    (path,) = [
        path for path in WRONG.glob("*.py") if f"class {name}(" in path.read_text()
    ]
    return examine(load_norm(f"{path}:{name}"), like="batch")


def sentence(name, fault):
    findings = examined(name).findings
    (found,) = [one for one in findings if one.fault == fault]
    return found.sentence


@pytest.mark.parametrize(
    ("name", "fault", "figure"),
    [
        ("BiasedVariance", "biased_variance", "n / (n - 1) = 1.2000 for n = 6"),
        ("CountOfSamples2d", "wrong_count", "n = 36 values, so n / (n - 1) = 1.0286"),
        ("CorrectedTheOtherWay1d", "corrected_inversely", "0.8333 = (n - 1) / n"),
        ("CorrectedTwice", "corrected_twice", "1.4400 = (n / (n - 1))² for n = 6"),
        (
            "CorrectsTheOld",
            "averages_weights",
            "1.08 times its old value plus 0.1 times the biased variance of the batch; "
            "it should be 0.9 times and 0.12 times",
        ),
        ("DividesOnly", "averages_weights", "0.9 times its old value plus 0.02 times"),
        ("VarianceReversed", "averages_disagree", "0.9, and running_mean the weight"),
        ("MomentumReversed", "momentum_reversed", "the new batch has 0.9"),
        ("MomentumOfKeras2d", "momentum_large", "has the weight 0.9"),
        ("MomentumIgnored1d", "momentum_ignored", "With momentum = 0.3 the"),
        ("UnbiasedNormalization2d", "unbiased_normalization", "0.9860 = sqrt"),
        ("EpsOutside1d", "eps_outside", "by 0.00101, and should be by 0.00332"),
        ("EpsBehind2d", "eps_after", "shifted by 1e-05"),
        (
            "MomentumWritten1d",
            "momentum_ignored",
            "With momentum = 0.3 the new batch has the weight 0.1.",
        ),
        ("EpsWritten1d", "eps_ignored", "eps = 0.01 the layer computes with 1e-05"),
        ("EpsIgnored1d", "eps_ignored", "eps = 0.001 the layer computes with 1e-05"),
        ("StartsAtZero2d", "averages_start", "running_var starts at 0, not at 1"),
        ("InstanceAxes2d", "wrong_axes", "every channel of every sample; batch norm"),
        ("SamplesOnly", "wrong_axes", "(N, C, L) and (N, C, H, W) and (N, C, D, H, W)"),
        ("OneScale2d", "learned_shape", "weight has the shape (1,)"),
        ("ShiftIsScaled", "learned_effect", "the shift is scaled as well"),
        ("DetachedStatistics1d", "gradient_detached", "the mean and the variance as"),
        ("DetachedVariance2d", "gradient_detached", "treats the variance as constant"),
        ("MissingDetach1d", "graph_kept", "after ten"),
        ("PlainAttributes", "state_attribute", "are kept in ordinary attributes"),
        (
            "TenChannels",
            "channels_fixed",
            "norm.running_var have the size (10,)",
        ),
        ("FourInForward", "channels_limited", "With 8 channels input of shape (6, 8,"),
        ("LosesOneChannel", "channels_limited", "output of shape (6,)"),
        ("MeanOverFour", "channels_output", "With 8 channels the output differs from"),
        ("NothingFilled", "blanks_left", "Blanks are left in lines 21, 22, 23 and 24"),
        ("PassLeft", "blanks_left", "A blank is left in line 73"),
        ("NoCentering", "no_centering", "channels have means up to"),
        (
            "VectorsOnly",
            "call_fails",
            "(6, 4, 3, 2) ends in an error: VectorsOnly(4, dim=2) fails in line 10: ",
        ),
        (
            "ImagesOnly",
            "call_fails",
            "(6, 4) ends in an error: ImagesOnly(4, dim=1) fails in line 21: ",
        ),
        ("NoRank", "cannot_be_built", "ValueError: dim 1 is unknown"),
        (
            "OnlyTensors",
            "cannot_be_built",
            "OnlyTensors must call super().__init__() at the start of its constructor.",
        ),
        (
            "HidesTrain",
            "cannot_be_built",
            "; its attribute train hides a method of torch.nn.Module.",
        ),
    ],
)
def test_the_sentence_has_the_measured_figure(name, fault, figure):
    assert figure in sentence(name, fault)


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("BiasedVariance", 1),
        ("CorrectedTwice", 1),
        ("VarianceReversed", 2),
        # Every score is off: averages 3, unbiased 1, evaluation 3.
        ("SameWeightTwice", 7),
        ("CorrectsTheOld", 7),
        ("ParenthesesMissing", 7),
        ("NeverDecays1d", 9),  # the weights of the batch are not known either
    ],
)
def test_what_makes_every_score_wrong_costs_more(name, lost):
    examination = examined(name)
    assert examination.possible - examination.points == lost
