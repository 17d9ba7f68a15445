"""List the skipped tests by reason, and fail if a reason is not among the allowed ones.

`.ci/run` switches this on with `--check-skips`. It names with `--lacking` what could
not be installed, so that a test is skipped for want of nothing else.
"""

import re
from collections.abc import Iterable

import pytest

# Patterns of reasons for which a test may always be skipped, and why it may.
ALLOWED = {
    r"\bGPU\b": "CI has no GPU",
    r"real data not found": "the published data are no part of the repository",
    r"set NORMLAB_SLURM=1": "one SLURM serves one test at a time: make slurm",
    r"set NORMLAB_TORTURE=1": "the whole torture takes hours: make torture",
    r"make docs executes it": "the notebooks are executed once in a run of CI",
    r"no disk may be mounted": "mounting a disk is a privilege",
}
# The same for what a machine may lack.
LACKING = {
    "chromium": r"no Chromium here",
    "g++": r"g\+\+|C\+\+ compiler",
    "mlflow": r"could not import 'mlflow'",
    "ray": r"Ray is not installed",
    "triton": r"triton is not installed",
    "wandb": r"could not import 'wandb'",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--check-skips",
        action="store_true",
        help="list the skipped tests by reason; fail if a reason is not allowed",
    )
    parser.addoption(
        "--lacking",
        action="append",
        default=[],
        choices=sorted(LACKING),
        help="what this machine lacks, for want of which tests may be skipped",
    )


def allowance(reason: str, lacking: Iterable[str]) -> str | None:
    """Why tests may be skipped for this reason; None if they may not.

    Args:
        reason: what the skipped test says.
        lacking: names of what the machine lacks, from `LACKING`.
    """
    allowed = dict(ALLOWED)
    for name in lacking:
        allowed[LACKING[name]] = f"{name} could not be installed"
    for pattern, why in allowed.items():
        if re.search(pattern, reason):
            return why
    return None


def skipped_by_reason(config: pytest.Config) -> dict[str, list[str]]:
    """The files of the skipped tests by reason, one entry for every test."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    found: dict[str, list[str]] = {}
    for report in reporter.stats.get("skipped", []):
        _, _, reason = report.longrepr
        files = found.setdefault(reason.removeprefix("Skipped: "), [])
        files.append(report.nodeid.partition("::")[0])
    return found


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist, which lists nothing
    if is_worker or not config.option.check_skips or exitstatus:
        return
    for reason in skipped_by_reason(config):
        if allowance(reason, config.option.lacking) is None:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not config.option.check_skips:
        return
    terminalreporter.section("skipped tests")
    found = skipped_by_reason(config)
    for reason, files in sorted(found.items()):
        why = allowance(reason, config.option.lacking)
        verdict = f"allowed: {why}" if why else "NOT ALLOWED, see tests/skips.py"
        terminalreporter.line(f"{len(files):3}  {reason}", red=not why)
        terminalreporter.line(f"     {verdict}", red=not why)
        terminalreporter.line(f"     {', '.join(sorted(set(files)))}", red=not why)
    if not found:
        terminalreporter.line("none")
