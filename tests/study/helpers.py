"""A study with two arms, torch and custom, and noise for its runs."""

import numpy as np

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
