"""What the sentences of a report are about, said once."""

from collections.abc import Sequence

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import counted
from normlab.compare.shapes import unseen_share


def scope_note(comparisons: Sequence[Comparison]) -> str:
    """Over what the runs of a report vary, and what they cannot have seen.

    Args:
        comparisons: all comparisons of the report.
    """
    designs: set[str] = set()
    sizes: list[int] = []
    for comparison in comparisons:
        if comparison.contrasts.empty:
            continue
        designs.update(comparison.contrasts["design"])
        smaller = comparison.contrasts[["n", "n_baseline"]].min(axis=1)
        sizes += smaller[smaller > 0].tolist()
    parts = []
    if designs and designs <= {"folds"}:
        parts.append(
            "Everything said here is about training on other folds of the same data."
        )
    else:
        parts.append(
            "Everything said here is about other seeds and the same test samples: "
            "other test samples would shift all arms, and their differences too."
        )
    if sizes:
        fewest = min(sizes)
        share = unseen_share(fewest)
        runs = counted(fewest, "run")
        parts.append(
            f"{runs} per arm can miss what happens to up to {share:.0%} of runs."
        )
    return " ".join(parts)
