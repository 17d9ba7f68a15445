"""The list of skipped tests at the end of CI, and what it refuses."""

import pytest
from skips import LACKING, allowance

pytest_plugins = ["pytester"]
SKIPPED = """
import pytest


@pytest.mark.skipif(True, reason="CUDA graphs need a GPU")
def test_on_a_gpu():
    pass


@pytest.mark.parametrize("number", [1, 2])
def test_in_a_browser(number):
    pytest.skip("no Chromium here: apt-get install chromium chromium-driver")


def test_of_a_package():
    pytest.importorskip("mlflow_of_nobody")


def test_that_runs():
    pass
"""


@pytest.fixture
def run(pytester):
    """run(*words): pytest over a file, with the plugin, in this process."""

    def run_pytest(*words, text=SKIPPED):
        pytester.makepyfile(test_made_up=text)
        return pytester.runpytest_inprocess("-p", "skips", *words)

    return run_pytest


def test_a_reason_that_is_not_allowed_fails_the_run_and_is_named(run):
    done = run("--check-skips", "--lacking", "chromium")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines_random(
        [
            "*= skipped tests =*",
            "  1  CUDA graphs need a GPU",
            "     allowed: CI has no GPU",
            "  2  no Chromium here: *",
            "     allowed: chromium could not be installed",
            "  1  could not import 'mlflow_of_nobody': *",
            "     NOT ALLOWED, see tests/skips.py",
            "     test_made_up.py",
        ]
    )
    done.assert_outcomes(passed=1, skipped=4)


def test_allowed_reasons_pass(run):
    allowed = SKIPPED.replace("mlflow_of_nobody", "json")
    done = run("--check-skips", "--lacking=chromium", text=allowed)
    assert done.ret == pytest.ExitCode.OK
    done = run("--check-skips", text=allowed)
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_without_the_option_nothing_is_checked(run):
    done = run()
    assert done.ret == pytest.ExitCode.OK
    done.stdout.no_fnmatch_line("*skipped tests*")


def test_a_file_that_is_skipped_as_a_whole_counts(run):
    text = "import pytest\npytest.skip('for fun', allow_module_level=True)\n"
    done = run("--check-skips", "--continue-on-collection-errors", text=text)
    assert done.ret != pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["  1  for fun", "     NOT ALLOWED*"])


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("real data not found: set NORMLAB_DATA", "the published data are no part"),
        ("takes minutes: set NORMLAB_TORTURE=1", "the whole torture takes hours"),
        (
            "set NORMLAB_SLURM=1, as `make slurm` does",
            "one SLURM serves one test at a time",
        ),
        ("no disk may be mounted here", "mounting a disk is a privilege"),
        ("could not import 'ray'", None),
        ("too slow today", None),
        ("", None),
    ],
)
def test_what_is_allowed_without_lacking_anything(reason, why):
    found = allowance(reason, [])
    assert found is why is None or found.startswith(why)


@pytest.mark.parametrize("name", LACKING)
def test_what_is_lacking_allows_its_own_reasons_only(name):
    reasons = {
        "chromium": "no Chromium here: apt-get install chromium",
        "g++": "torch.compile needs a C++ compiler on CPUs",
        "mlflow": "could not import 'mlflow': No module named 'mlflow'",
        "ray": "Ray is not installed: 200 MB, pip install ray",
        "triton": "triton is not installed here",
        "wandb": "could not import 'wandb': No module named 'wandb'",
    }
    allowed = {other for other in reasons if allowance(reasons[other], [name])}
    assert allowed == {name}
