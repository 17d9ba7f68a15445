"""docs/RESULTS.md: what the notebooks printed beside what their experiments give; every number here is of a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.comparison import Comparison, compare
from normlab.compare.contrasts import usable
from normlab.compare.inference import SMALLEST_N
from normlab.compare.runs import read_curves
from normlab.report.figures import style
from normlab.report.run_figures import arms, learning_curves

HEADING = """# Results

The experiments of five course notebooks, run again with the arms that they lacked. `make reproduce DATA=FOLDER` writes
this file from the runs; what the notebooks printed, from one run an arm and without a seed, is quoted beside it.

Every score here is in evaluation mode, with the state of the best validation epoch, and the test part was read once a
run. Runs with the same seed share first weights and batches, so arms are compared pair by pair: t intervals of the
difference, and exact sign-flip tests, corrected by Holm's method for the number of contrasts. Scores by
cross-validation are means over seeds in every fold, and their intervals allow for the training data that folds share
(Nadeau and Bengio, 2003): of k folds the test part is taken to be 1/(k − 1) of the training part, validation counted
to it. `python scripts/compare.py outputs/NAME --out FOLDER` gives every other statistic.

AlexNet on Tiny-ImageNet needs pretrained weights and is not among these: `experiment=alexnet_tiny_imagenet`."""


@dataclass(frozen=True)
class Section:
    """What the document says of one experiment.

    Attributes:
        overview: cells of the table on top: experiment, notebook, here, in a word.
        text: Markdown, with heading.
    """

    overview: list[str]
    text: str


def document(sections: list[Section]) -> str:
    """The whole file."""
    columns = ["experiment", "the notebook", "here", "so"]
    table = rows_to_markdown(
        columns, [section.overview for section in sections], numbers=False
    )
    return "\n\n".join([HEADING, table, *(section.text for section in sections)]) + "\n"


def section(
    name: str,
    entry: dict[str, Any],
    runs: pd.DataFrame,
    command: str,
    figures: Path,
    notes: Sequence[str] = (),
) -> Section:
    """An experiment that has runs: tables, sentences, and its curves as a figure.

    Args:
        name: of the experiment.
        entry: of the plan.
        runs: from `load_runs`.
        command: that makes them.
        figures: folder of the figures.
        notes: what else a reader must know of these runs.
    """
    comparisons = [
        compare(runs, within=[], **options) for options in entry["comparisons"]
    ]
    first = comparisons[0]
    lines = [arms_table(first, entry), *map(differences, comparisons)]
    lines += [
        against_notebook(first, entry),
        epochs_to_reach(first, entry),
        _draw(first, name, figures),
    ]
    lines += [curve_table(first, entry, metric) for metric in entry.get("curves", [])]
    lines += [
        f"Note: {text}"
        for text in [*notes, *(text for each in comparisons for text in each.warnings)]
    ]
    text = _readable("\n\n".join(dict.fromkeys(line for line in lines if line)), entry)
    overview = [_readable(cell, entry) for cell in _overview(first, entry)]
    return Section(
        overview, "\n\n".join([f"## {entry['title']}", *_head(entry, command), text])
    )


def _readable(text: str, entry: dict[str, Any]) -> str:
    """Settings in the names of arms in the words of the plan."""
    for setting, words in entry.get("words", {}).items():
        text = text.replace(setting, words)
    return text


def absent(name: str, entry: dict[str, Any], command: str, why: str) -> Section:
    """An experiment without runs: why, and how many norm layers each of its arms has."""
    counts = [
        [arm, *_counts(layers, parameters)]
        for arm, layers, parameters in networks(name, entry)
    ]
    table = rows_to_markdown(["arm", "norm layers", "parameters"], counts)
    text = [
        f"## {entry['title']}",
        f"**No result here**: {why}. Its networks, built without data:",
        table,
    ]
    overview = [entry["title"], quoted(entry), f"no result: {why}", "–"]
    return Section(overview, "\n\n".join([*text, *_head(entry, command)]))


def _head(entry: dict[str, Any], command: str) -> list[str]:
    return [
        f"**The notebook.** {entry['notebook']['flaws'].strip()}",
        f"```\n{command}\n```",
    ]


def networks(name: str, entry: dict[str, Any]) -> list[tuple[str, int, int]]:
    """Norm, number of norm layers and of parameters of every arm, without data."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from torch import nn

    from normlab.config.identity import configuration_directory
    from normlab.training.build import build_network
    from normlab.training.fit_check import declared_input, resolve_image_size

    found = []
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        for norm in entry["sweep"]["norm"].split(","):
            config = compose("config", overrides=[f"experiment={name}", f"norm={norm}"])
            config = OmegaConf.to_container(config, resolve=False)
            inputs = declared_input(config, resolve_image_size(config))
            network, layers = build_network(config, *inputs)
            counted = sum(
                not isinstance(layer, nn.Identity) for layer in layers.values()
            )
            found.append(
                (
                    norm,
                    counted,
                    sum(parameter.numel() for parameter in network.parameters()),
                )
            )
    return found


def arms_table(comparison: Comparison, entry: dict[str, Any]) -> str:
    """A row an arm: what the notebook printed, ours, and what the networks are."""
    told = any(_quotes(entry, arm, comparison.metric) for arm in comparison.arms)
    folds = _by_folds(comparison)
    columns = [
        "arm",
        *(["notebook"] if told else []),
        *(["folds", "seeds"] if folds else ["n"]),
        "mean",
        "SD",
    ]
    columns += ["95 % interval", "smallest", "largest", "norm layers", "parameters"]
    rows, any_lost = (
        [],
        (comparison.summaries[["diverged", "failed"]] > 0).any(axis=None),
    )
    summaries = comparison.summaries.set_index("arm", drop=False).loc[comparison.arms]
    for row in summaries.to_dict("records"):
        show, runs = (
            rounded_to(row["sd"]),
            comparison.runs[comparison.runs["arm"] == row["arm"]],
        )
        quotes = [
            f"{value:.4f}" for _, value in _quotes(entry, row["arm"], comparison.metric)
        ]
        notebook = [", ".join(quotes) or "–"] if told else []
        count = [
            str(row["n"]),
            *([_seeds_a_fold(runs, comparison.metric)] if folds else []),
        ]
        ours = [
            show(row["mean"]),
            show(row["sd"]),
            f"{show(row['low'])} to {show(row['high'])}",
        ]
        counts = [
            sorted({int(v) for v in runs[key].dropna()})
            for key in ("num_norm_layers", "num_parameters")
        ]
        lost = [str(row["diverged"] + row["failed"])] if any_lost else []
        rows.append(
            [
                row["arm"],
                *notebook,
                *count,
                *ours,
                show(row["min"]),
                show(row["max"]),
                *_counts(*counts),
                *lost,
            ]
        )
    columns += ["diverged or failed"] if any_lost else []
    of = "folds, means over the seeds of a fold" if folds else "n seeds"
    return f"**{comparison.metric}** of {of}\n\n{rows_to_markdown(columns, rows)}"


def _by_folds(comparison: Comparison) -> bool:
    return "design" in comparison.contrasts and bool(
        (comparison.contrasts["design"] == "folds").any()
    )


def _seeds_a_fold(runs: pd.DataFrame, metric: str) -> str:
    """How many runs a fold's mean is of: `10`, or `8 to 10`."""
    counts = usable(runs, metric).groupby("dataset.fold").size()
    return (
        " to ".join(str(count) for count in sorted({counts.min(), counts.max()}))
        if len(counts)
        else "0"
    )


def differences(comparison: Comparison) -> str:
    """A sentence a contrast; a table where folds are too few for a test."""
    rows = comparison.contrasts.to_dict("records")
    if any(row["design"] != "folds" or row["n"] >= SMALLEST_N for row in rows):
        return "\n".join(f"- {row['sentence']}" for row in rows)
    cells = []
    for row in rows:
        difference, low, high = _shown(comparison, row)
        cells.append([row["arm"], str(row["n"]), difference, f"{low} to {high}"])
    table = rows_to_markdown(["arm", "folds", "difference", "95 % interval"], cells)
    return (
        f"Difference to {comparison.baseline} in {comparison.metric}; no test is made with fewer than {SMALLEST_N} "
        f"folds\n\n{table}"
    )


def _counts(layers: int | list[int], parameters: int | list[int]) -> list[str]:
    both = (
        [value] if isinstance(value, int) else value for value in (layers, parameters)
    )
    return [" or ".join(f"{value:,}" for value in values) for values in both]


def rounded_to(sd: float):
    """A function that shows numbers with the decimals of the first two digits of a standard deviation."""
    decimals = 4 if not sd > 0 else max(0, 1 - math.floor(math.log10(sd)))
    return lambda value: _or_dash(value, f"{{:,.{decimals}f}}")


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None or not math.isfinite(value) else form.format(value)


def _headline(comparison: Comparison, entry: dict[str, Any]) -> dict[str, Any] | None:
    rows = [
        row
        for row in comparison.contrasts.to_dict("records")
        if row["arm"] == entry["contrast"]
    ]
    return rows[0] if rows else None


def quoted(entry: dict[str, Any]) -> str:
    """The notebook's difference in test accuracy, or what the plan says in its place."""
    gap = _printed(entry, "test/accuracy")
    return entry["notebook"].get("printed") or f"{points(gap)} points of test accuracy"


def _printed(entry: dict[str, Any], metric: str) -> float | None:
    """The notebook's difference of the contrast, if it has one run of each of both arms."""
    arms = (entry["contrast"], entry["comparisons"][0]["baseline"])
    both = [[value for _, value in _quotes(entry, arm, metric)] for arm in arms]
    return both[0][0] - both[1][0] if all(len(values) == 1 for values in both) else None


def _quotes(entry: dict[str, Any], arm: str, metric: str) -> list[tuple[str, Any]]:
    """What the notebook printed of a metric for its runs of an arm, each under the heading that it gets."""
    runs = entry["notebook"].get("arms", {}).get(arm, [])
    runs = runs if isinstance(runs, list) else [runs]
    return [
        (
            ", ".join(["notebook", *([run["called"]] if "called" in run else [])]),
            run[metric],
        )
        for run in runs
        if metric in run
    ]


def points(difference: float) -> str:
    """A difference of two accuracies in hundredths: `+1.49`."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def _shown(comparison: Comparison, row: dict[str, Any]) -> tuple[str, str, str]:
    """Difference and ends of its interval: accuracies in points, errors in their own unit."""
    values = (row["difference"], row["low"], row["high"])
    if comparison.metric.endswith("accuracy"):
        return tuple(map(points, values))
    show = rounded_to((row["high"] - row["low"]) / 4)  # about a standard error
    return tuple(("−" if value < 0 else "+") + show(abs(value)) for value in values)


def _overview(comparison: Comparison, entry: dict[str, Any]) -> list[str]:
    row = _headline(comparison, entry)
    if row is None or not math.isfinite(row["low"]):
        return [entry["title"], quoted(entry), "too few runs", "cannot tell"]
    difference, low, high = _shown(comparison, row)
    unit = (
        "points of test accuracy"
        if comparison.metric.endswith("accuracy")
        else comparison.metric
    )
    who = f"{row['n']} {'folds' if row['design'] == 'folds' else 'seeds'}"
    here = f"{difference} {unit} ({low} to {high}, {who}), {row['arm']} against {row['baseline']}"
    return [entry["title"], quoted(entry), here, _word(comparison, entry, row)]


def _word(comparison: Comparison, entry: dict[str, Any], row: dict[str, Any]) -> str:
    """The conclusion in the words of the comparison, and whether the interval holds what the notebook printed."""
    words = {
        "equivalent": f"{row['arm']} and {row['baseline']} are equivalent",
        "not told apart": "no difference was shown",
        "cannot tell": _untested(row),
    }.get(row["verdict"], f"{row['arm']} does {row['verdict']} than {row['baseline']}")
    printed = _printed(entry, comparison.metric)
    if printed is None:
        return words
    inside = "inside" if row["low"] <= printed <= row["high"] else "outside"
    return f"{words}; the notebook's difference is {inside} the interval"


def _untested(row: dict[str, Any]) -> str:
    """What the interval says where no test could be made."""
    n, what = row["n"], "folds" if row["design"] == "folds" else "seeds"
    lies = (
        "lies above 0"
        if row["low"] > 0
        else "lies below 0"
        if row["high"] < 0
        else "holds 0"
    )
    why = f"{n} {what} are too few for a test of {row['contrasts']} contrasts"
    if n < SMALLEST_N:
        why = f"no test is made with fewer than {SMALLEST_N} {what}"
    return f"the interval {lies}; {why}"


def against_notebook(comparison: Comparison, entry: dict[str, Any]) -> str:
    """The notebook's difference beside ours; empty where it printed none."""
    row, printed = _headline(comparison, entry), _printed(entry, comparison.metric)
    if row is None or printed is None or not math.isfinite(row["low"]):
        return ""
    difference, low, high = _shown(comparison, row)
    lies = "holds" if row["low"] <= printed <= row["high"] else "does not hold"
    share = (
        f", {row['difference'] / printed:.0%} of that".replace("%", " %")
        if row["difference"] * printed > 0
        else ""
    )
    return (
        f"**Against the notebook.** The notebook's difference of {row['arm']} to {row['baseline']} is "
        f"{points(printed)} points. Here it is {difference} points{share}, and the interval from {low} to {high} "
        f"{lies} the notebook's."
    )


def epochs_to_reach(comparison: Comparison, entry: dict[str, Any]) -> str:
    """Epochs until every arm has the loss that the baseline with the same seed ends with."""
    if "reach" not in entry:
        return ""
    tables = curves_by_seed(comparison, entry["reach"])
    if tables[comparison.baseline].empty:
        return ""
    last = tables[comparison.baseline].iloc[:, -1]
    told = []
    for arm in comparison.arms[1:]:
        needed = first_epochs(tables[arm], last)
        words = f"{arm} {_epochs(needed)}"
        both = [
            _quotes(entry, name, entry["reach"]) for name in (arm, comparison.baseline)
        ]
        if all(len(quotes) == 1 for quotes in both):
            (_, printed), (_, ends) = both[0][0], both[1][0]
            losses = pd.DataFrame([printed], columns=range(1, len(printed) + 1))
            words += (
                f", the notebook's {first_epochs(losses, pd.Series([ends[-1]]))[0]:g}"
            )
        told.append(words)
    end = tables[comparison.baseline].columns[-1]
    return (
        f"**Epochs** until an arm has the {entry['reach']} that {comparison.baseline} with the same seed has after "
        f"{end}, median and range over seeds: {'; '.join(told)}."
    )


def _epochs(needed: np.ndarray) -> str:
    if not len(needed):
        return "–"
    return f"{np.median(needed):g} ({needed.min():g} to {needed.max():g})".replace(
        "inf", "never"
    )


def first_epochs(losses: pd.DataFrame, targets: pd.Series) -> np.ndarray:
    """By seed, the first epoch whose loss is at most the seed's target; infinite if there is none."""
    seeds = losses.index.intersection(targets.index)
    hit = losses.loc[seeds].le(targets[seeds], axis=0)
    return np.where(hit.any(axis=1), hit.idxmax(axis=1).astype(float), math.inf)


def curves_by_seed(comparison: Comparison, metric: str) -> dict[str, pd.DataFrame]:
    """By arm, the metric of every finished run: a row a seed, a column an epoch; an empty table without runs."""
    runs = comparison.runs[comparison.runs["status"] == "finished"]
    curves = read_curves(runs, [metric]).assign(
        epoch=lambda table: table["epoch"].astype(int)
    )
    curves = curves.join(runs[["arm", "seed"]], on="index")
    tables = {
        arm: part.pivot_table(metric, "seed", "epoch", "last")
        for arm, part in curves.groupby("arm")
    }
    return {arm: tables.get(arm, pd.DataFrame()) for arm in comparison.arms}


def _draw(comparison: Comparison, name: str, figures: Path) -> str:
    with style():
        drawing = (
            arms(comparison) if _by_folds(comparison) else learning_curves(comparison)
        )
        if drawing is None:
            return ""
        figures.mkdir(parents=True, exist_ok=True)
        drawing.figure.savefig(figures / f"{name}.png", dpi=160, facecolor="white")
    return f"![{drawing.description}]({figures.name}/{name}.png)\n\n{drawing.caption}"


def curve_table(comparison: Comparison, entry: dict[str, Any], metric: str) -> str:
    """A row an epoch: mean and standard deviation of every arm, and beside it what the notebook printed."""
    tables = curves_by_seed(comparison, metric)
    quotes = {arm: _quotes(entry, arm, metric) for arm in comparison.arms}
    columns = [
        "epoch",
        *(
            name
            for arm in comparison.arms
            for name in (arm, *(heading for heading, _ in quotes[arm]))
        ),
    ]
    rows = []
    for epoch in range(1, max(table.shape[1] for table in tables.values()) + 1):
        row = [str(epoch)]
        for arm in comparison.arms:
            values = tables[arm].get(epoch, pd.Series(dtype=float)).dropna()
            row.append(
                _or_dash(values.mean(), "{:.3f}") + _or_dash(values.std(), " ({:.3f})")
            )
            row += [_quoted_loss(losses, epoch, values) for _, losses in quotes[arm]]
        rows.append(row)
    outside = any(cell.endswith("*") for row in rows for cell in row)
    star = "; * lies outside of all runs here" if outside else ""
    return f"**{metric}** by epoch, mean (SD) over seeds{star}\n\n{rows_to_markdown(columns, rows)}"


def _quoted_loss(losses: list[float], epoch: int, ours: pd.Series) -> str:
    if epoch > len(losses):
        return "–"
    value = losses[epoch - 1]
    far = len(ours) > 0 and not ours.min() <= value <= ours.max()
    return f"{value:.3f}{'*' if far else ''}"


def rows_to_markdown(
    columns: list[str], rows: list[list[str]], numbers: bool = True
) -> str:
    """A Markdown table, with `numbers` all columns but the first to the right."""
    rule = ["---", *(["---:" if numbers else "---"] * (len(columns) - 1))]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [columns, rule, *cells])
