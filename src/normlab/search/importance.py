"""How much each parameter of a search mattered for the objective."""

import math
from pathlib import Path

import optuna
from matplotlib.figure import Figure
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from normlab.colours import BLUE
from normlab.figure_files import save_figure


def importances(optuna_study: optuna.Study) -> dict[str, float]:
    """The share of the variation of the objective that each parameter explains.

    Computed by fANOVA: a random forest predicts the objective from the parameters, and
    the variance of its predictions is decomposed. Hutter, Hoos and Leyton-Brown (2014),
    An efficient approach for assessing hyperparameter importance, ICML.

    Args:
        optuna_study: the study of a search.

    Returns:
        shares of 1 by parameter, the most important first. Empty if fewer than two
        trials have a finite value, or if the finite values do not differ.
    """
    finished = optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = set()
    for trial in finished:
        if trial.value is not None and abs(trial.value) < math.inf:
            values.add(trial.value)
    if len(values) < 2:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=0)
    return get_param_importances(optuna_study, evaluator=evaluator)


def draw_importances(
    shares: dict[str, float],
    metric: str,
    path: Path,
) -> None:
    """Draw one bar per parameter, the most important on top, into a file.

    Args:
        shares: shares of 1 by parameter, the most important first.
        metric: the metric of the objective.
        path: the file of the figure.
    """
    # The first bar is drawn at the bottom.
    names = list(reversed(shares))
    lengths = [shares[name] for name in names]
    height = 1 + 0.35 * len(names)
    figure = Figure(figsize=(6, height), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(names, lengths, color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlim=(0, 1.1), xlabel=f"importance for {metric} (fANOVA, all together 1)")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=160)
