"""What calls return: one run, several runs, and a comparison of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from normlab.api.html import comparison_html, run_html, runs_html, show_inline
from normlab.compare.comparison import Comparison, compare
from normlab.compare.runs import load_runs
from normlab.compare.settings import distinguishing_settings
from normlab.evaluation.evaluate import (
    evaluate_grid,
    evaluate_run,
    read_config,
    read_stored,
    stored_parts,
)
from normlab.evaluation.inspection import draw_layers, inspect_run
from normlab.evaluation.output import evaluation_table
from normlab.predict.predictor import Predictor, load_predictor
from normlab.report.arm_figures import draw_arms, draw_pairs, draw_response
from normlab.report.assembly import Extras, report_of
from normlab.report.drawing import Drawing, figure_style
from normlab.report.figures import draw_figures
from normlab.report.learning_curves import draw_learning_curves
from normlab.report.output import write_files
from normlab.report.setting_figures import draw_sensitivity
from normlab.report.tables import contrast_table, summary_table
from normlab.results import check_log
from normlab.terminal import format_metric
from normlab.why.explanation import explain_runs
from normlab.why.measure import Settings

SHORT_NAMES = {"curves": "learning_curves"}  # of figures
# Figures that are drawn alone if they are asked for.
DRAW: dict[str, Callable[[Comparison], Drawing | None]] = {
    "arms": draw_arms,
    "response": draw_response,
    "pairs": draw_pairs,
    "learning_curves": draw_learning_curves,
    "sensitivity": draw_sensitivity,
}


class Run:
    """A stored run.

    Args:
        folder: its folder.
        trusted: packages of your own that the run may call.

    Raises:
        ValueError: the folder holds no run.
    """

    def __init__(self, folder: str | Path, trusted: Sequence[str] = ()) -> None:
        self.folder = Path(folder)
        self.trusted = list(trusted)
        self.config = read_config(self.folder, trusted=_any_package(self.folder))

    @cached_property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`; empty if the run has not ended."""
        return read_stored(self.folder)

    @property
    def status(self) -> str:
        """`finished`, `diverged`, `failed` or `unfinished`."""
        return str(self.result.get("status", "unfinished"))

    @property
    def metrics(self) -> dict[str, float | None]:
        """The scores of the best state by name, such as `test/accuracy`.

        A score that is not a finite number is None.
        """
        return dict(self.result.get("metrics", {}))

    @cached_property
    def history(self) -> pd.DataFrame:
        """The metrics of every epoch, one row an epoch.

        Raises:
            ValueError: `metrics.csv` was changed after the run ended.
        """
        return self._read_log("metrics.csv")

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Statistics of layers: one row an epoch, layer and statistic.

        Raises:
            ValueError: `statistics.csv` was changed after the run ended.
        """
        return self._read_log("statistics.csv")

    def _read_log(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        check_log(path)
        return pd.read_csv(path)

    @cached_property
    def _predictor(self) -> Predictor:
        return load_predictor(self.folder, self.trusted)

    @property
    def network(self) -> nn.Module:
        """The network with its best weights and buffers, in evaluation mode."""
        return self._predictor.network

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The data of the run by the name of the part: train, val and test."""
        return stored_parts(self.folder, self.trusted).by_name

    def prepare(self, inputs: Any) -> Tensor:
        """Turn samples as the data set stores them into inputs of the network.

        Images are resized and normalized as in training; they are not augmented.

        Args:
            inputs: as for `predict`.

        Raises:
            ValueError: the samples have another shape.
        """
        return self._predictor.inputs.prepared(torch.as_tensor(inputs))

    def predict(self, inputs: Any) -> Tensor:
        """Predict samples in the form in which the data set stores them.

        The data set of the run is not needed.

        Args:
            inputs: a tensor or an array ``(N, ...)``, such as uint8 images
                ``(N, C, H, W)`` or the encoded columns of a table ``(N, F)``; they are
                transformed as in training.

        Returns:
            Probabilities ``(N, K)`` of the classes, in the order of
            `result["classes"]`, or values ``(N,)`` in the units of the targets.

        Raises:
            ValueError: the samples have another shape.
        """
        return self._predictor.predict(inputs)

    def evaluate(self, **arguments: Any) -> dict[str, float]:
        """Score the run again, see `normlab.evaluation.evaluate.evaluate_run`."""
        arguments.setdefault("trusted", self.trusted)
        return evaluate_run(self.folder, **arguments)

    def evaluate_grid(self, **arguments: Any) -> pd.DataFrame:
        """Score the run under several shifts with several kinds of statistics.

        Args:
            arguments: see `normlab.evaluation.evaluate.evaluate_grid`.

        Returns:
            One row per metric, with the columns shift, statistics, part, metric and
            value.
        """
        arguments.setdefault("trusted", self.trusted)
        return evaluation_table(evaluate_grid(self.folder, **arguments))

    def figure(self) -> Figure:
        """What the norm layers hold, see `normlab inspect`."""
        states = inspect_run(self.folder, trusted=self.trusted)
        return show_inline(draw_layers(states, self.folder.name))

    def why(self, **arguments: Any) -> dict[str, Drawing]:
        """Pictures of what the norm does in this run, see `Runs.why`."""
        return Runs([self]).why(**arguments)

    def __repr__(self) -> str:
        words = [self.status]
        for name, value in self.metrics.items():
            if name.startswith("test/"):
                words.append(f"{name} {format_metric(value)}")
        return f"<Run {self.folder.name}: {', '.join(words)}>"

    def _repr_html_(self) -> str:
        return run_html(self.folder, self.status, self.metrics, self.result)


class Runs(Sequence[Run]):
    """Several runs, in an order.

    Args:
        runs: at least one.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)

    @cached_property
    def data(self) -> pd.DataFrame:
        """One row a run with every setting and result, see `load_runs`."""
        return load_runs([run.folder for run in self._runs])

    @property
    def table(self) -> pd.DataFrame:
        """One row a run: the settings that vary, the status, and the metrics."""
        data = self.data
        metrics = [name for name in data if str(name).startswith(("val/", "test/"))]
        varied = distinguishing_settings(data, ["norm"])
        names = dict.fromkeys(["norm", *varied, "seed", "status", *metrics, "seconds"])
        return data[[name for name in names if name in data]]

    def compare(
        self, by: str | Sequence[str] = "norm", **arguments: Any
    ) -> "ComparedRuns":
        """Compare arms over their seeds, see `normlab.compare.comparison.compare`.

        Args:
            by: the settings whose values are the arms.
            arguments: such as `metric`, `baseline` and `margin`.
        """
        return ComparedRuns(compare(self.data, by, **arguments))

    def figure(
        self, name: str = "curves", by: str = "norm", **arguments: Any
    ) -> Figure:
        """A figure of the report.

        Args:
            name: such as `curves` or `arms`; a wrong name is answered with all.
            by: the settings whose values are the arms.
            arguments: of `compare`.
        """
        return self.compare(by, **arguments).figure(name)

    def why(self, **arguments: Any) -> dict[str, Drawing]:
        """Pictures of what the norms do in these runs, and why they help, or do not.

        Every run is trained again in memory for some steps.

        Args:
            arguments: how much is measured, see `normlab.why.measure.Settings`.

        Returns:
            The drawings by name: `landscape`, `covariate_shift`, `depth`, `surface` and
            `film`, each with a `figure` and a `caption`.
        """
        trusted = [package for run in self for package in run.trusted]
        folders = [run.folder for run in self]
        drawings = explain_runs(folders, Settings(**arguments), trusted).drawings
        for drawing in drawings.values():
            show_inline(drawing.figure)
        return drawings

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        if isinstance(index, slice):
            return Runs(self._runs[index])
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __repr__(self) -> str:
        count = f"{len(self)} run" + ("" if len(self) == 1 else "s")
        return f"{count}\n{self.table.to_string(index=False, max_rows=30)}"

    def _repr_html_(self) -> str:
        return runs_html(self.table)


class ComparedRuns:
    """A comparison of the arms of several runs, with its sentences and figures.

    Args:
        comparison: the numbers.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def arms(self) -> pd.DataFrame:
        """One row per arm and group: how its runs scored."""
        return self.comparison.summaries

    @property
    def contrasts(self) -> pd.DataFrame:
        """One row per arm other than the baseline: difference, test and sentence."""
        return self.comparison.contrasts

    @property
    def sentences(self) -> list[str]:
        """What came out, one sentence a contrast."""
        return list(self.contrasts.get("sentence", []))

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """All figures of the report, by name."""
        by_name = {}
        for drawing in draw_figures(self.comparison):
            by_name[drawing.name] = drawing
        return by_name

    def figure(self, name: str = "arms") -> Figure:
        """A figure of the report.

        Raises:
            ValueError: there is none of this name; the message lists all.
        """
        drawing = self._drawing(SHORT_NAMES.get(name, name))
        if drawing is None:
            names = ", ".join(self.drawings)
            raise ValueError(f"a figure must be one of {names}, got {name!r}")
        return show_inline(drawing.figure)

    def _drawing(self, name: str) -> Drawing | None:
        if name not in DRAW:
            return self.drawings.get(name)
        with figure_style():
            return DRAW[name](self.comparison)

    def report(self, folder: str | Path) -> Path:
        """Write the report with all figures and tables; return the path of the page."""
        return write_files(report_of(self.comparison, Extras()), Path(folder))

    def __repr__(self) -> str:
        warnings = [f"! {text}" for text in self.comparison.warnings]
        return "\n".join([*self.sentences, *warnings])

    def _repr_html_(self) -> str:
        tables = [summary_table(self.comparison)]
        if len(self.contrasts):
            tables.append(contrast_table(self.comparison))
        return comparison_html(
            tables, self.sentences, self.comparison.warnings, self._drawing("arms")
        )


def _any_package(folder: Path) -> list[str]:
    """The packages that a run names: reading its configuration calls none of them."""
    from normlab.files import read_yaml

    try:
        packages = read_yaml(folder / "config.yaml").get("trusted_packages")
    except (OSError, AttributeError, ValueError):
        return []
    return [str(name) for name in packages or []]
