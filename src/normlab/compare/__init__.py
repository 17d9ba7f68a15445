"""From run folders to an answer: summaries, intervals, tests and sentences."""

from typing import Any

__all__ = ["compare", "load_results", "load_runs"]


def __getattr__(name: str) -> Any:
    # pandas and scipy take seconds to import, and `--help` needs neither of them.
    if name == "load_runs":
        from normlab.compare.runs import load_runs

        return load_runs
    if name == "load_results":
        from normlab.compare.other_results import load_results

        return load_results
    if name == "compare":
        from normlab.compare.comparison import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
