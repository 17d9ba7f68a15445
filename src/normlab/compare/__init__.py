"""Run folders to an answer: tables, intervals, tests, figures, one self-contained page."""

from typing import Any

__all__ = ["compare", "load_runs"]


def __getattr__(name: str) -> Any:
    # pandas and scipy take seconds to import; the command line's --help needs neither.
    if name == "load_runs":
        from normlab.compare.runs import load_runs

        return load_runs
    if name == "compare":
        from normlab.compare.comparison import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
