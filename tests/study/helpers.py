"""A study with two arms, torch and custom, and noise for its runs."""

import numpy as np
from compare.helpers import CONFIG, NORMS

from normlab.compare.runs import flat_settings, settings_added_later

NOISE = 0.001 * np.array([0.3, -0.8, 0.5, -0.2, 0.9, -0.5, 0.1, -0.4, 0.6, -0.5])


def plan(**claim) -> dict:
    """The block of a study with one claim about custom."""
    return {
        "question": "Does it?",
        "by": "norm",
        "metric": "test/accuracy",
        "baseline": "torch",
        "within": [],
        "minimum_seeds": 10,
        "claims": [{"says": "It does.", "arms": ["custom"]} | claim],
    }


def planned_tables(params, **changes) -> list[dict]:
    """The settings of `write_run` as those of a plan, for each norm of its grid."""
    tables = []
    for norm in params["norm"].split(","):
        tree = CONFIG | {"norm": NORMS[norm]}
        picked = tree.pop("choices") | {"norm": norm}
        table = settings_added_later(picked) | flat_settings(tree) | changes
        for key in params:
            table.pop(key, None)
        tables.append(table | {"norm": norm})
    return tables
