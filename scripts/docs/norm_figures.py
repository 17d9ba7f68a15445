"""Figures of the cells that share statistics, measured from the layers themselves.

A cube stands for a batch: samples, channels and positions. One output is observed; the
inputs on which it depends, by its gradient, are those that share its statistics.
"""

import itertools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SIZE = (6, 6, 6)  # samples, channels, positions
# Options that let a small cube show what the defaults do to a large tensor.
SMALL = {
    "ghost": {"size": 3},
    "group": {"num_groups": 2},
    "evonorm_s0": {"num_groups": 2},
    "local_response": {"size": 3},
}
# The observed output is a corner that the drawing shows, but for norms with windows.
CORNER = (0, 0, 0)
OBSERVED = {"local_response": (0, 2, 0)}
AXES = ("samples", "channels", "positions")
AXES_OF_WEIGHTS = ("outputs", "inputs", "positions")

Cell = tuple[int, int, int]


@dataclass(frozen=True)
class Cube:
    """What a figure shows.

    Attributes:
        title: above the cube.
        axes: names of the three axes.
        observed: the output.
        shared: inputs that change it, without its own.
    """

    title: str
    axes: tuple[str, str, str]
    observed: Cell
    shared: frozenset[Cell]


def cubes(name: str, config: dict[str, Any]) -> list[Cube]:
    """The cubes of a norm: activations in training and evaluation, and weights.

    Args:
        name: of the norm's file.
        config: the composed configuration with this norm.
    """
    from normlab.config.targets import build

    found = []
    observed = OBSERVED.get(name, CORNER)
    if config["reparametrize"]:
        shared = influences_on_weight(build(config["reparametrize"]))
        found.append(Cube("weights", AXES_OF_WEIGHTS, CORNER, shared))

    layer = build(config["norm"] | SMALL.get(name, {}))(SIZE[1], 1).double()
    training = influences(layer.train(), observed)
    evaluation = influences(layer.eval(), observed)
    if training == evaluation:
        title = "activations" if config["reparametrize"] else "training and evaluation"
        found.append(Cube(title, AXES, observed, training))
    else:
        found.append(Cube("training", AXES, observed, training))
        found.append(Cube("evaluation", AXES, observed, evaluation))
    return found


def influences(layer: nn.Module, observed: Cell) -> frozenset[Cell]:
    """The inputs of a layer, besides its own, on which the observed output depends."""
    found: set[Cell] = set()
    # Above and below zero, since an activation may be part of the norm.
    for offset in (1.0, -2.0):
        x = _values(offset).requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x)[observed], x)
        found |= _nonzero(gradient)
    return frozenset(found - {observed})


def influences_on_weight(
    reparametrize: Callable[[nn.Module], nn.Module],
) -> frozenset[Cell]:
    """The same for the weight of a convolution and what a norm makes of it."""
    convolution = nn.Conv1d(SIZE[1], SIZE[0], SIZE[2], dtype=torch.float64)
    with torch.no_grad():
        convolution.weight.copy_(_values(1.0))
    reparametrize(nn.Sequential(convolution, nn.Linear(1, 1)))
    *_, original = convolution.parametrizations.weight.parameters()
    (gradient,) = torch.autograd.grad(convolution.weight[CORNER], original)
    return frozenset(_nonzero(gradient) - {CORNER})


def _nonzero(gradient: Tensor) -> set[Cell]:
    return {tuple(cell) for cell in gradient.nonzero().tolist()}


def _values(offset: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return offset + torch.rand(SIZE, generator=generator, dtype=torch.float64)


# The drawing: a cube seen from the front, the top and the right, where the observed
# output is the corner that all three sides share. Coordinates are counted from it.
CELL = 22.0
DEPTH = (13.0, -9.0)  # of one sample, to the right and upwards
LEFT, TOP = 34.0, 84.0  # of the front side
WIDTH, HEIGHT = 250.0, 250.0  # of a cube with its texts
# Corners of the sides of a cell that can be seen.
FRONT = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0))
ABOVE = ((0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0))
RIGHT = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))


def drawing(found: list[Cube]) -> str:
    """The cubes side by side, as SVG that takes its colours from the page."""
    labels = []
    shapes = ""
    left = 0.0
    for cube in found:
        labels.append(f"{cube.title}: {describe(cube)}")
        shapes += f'<g transform="translate({left:.0f} 0)">{_cube(cube)}</g>'
        left += WIDTH
    label = "; ".join(labels)
    return (
        f'<svg class="normlab-figure" role="img" aria-label="{label}" '
        f'viewBox="0 0 {left:.0f} {HEIGHT:.0f}" style="max-width: {left:.0f}px">'
        f"{shapes}</svg>"
    )


def describe(cube: Cube) -> str:
    """In words, over which axes the statistics of one output go."""
    if not cube.shared:
        return "no two values share statistics"
    cells = {*cube.shared, cube.observed}
    words = []
    by_axis = zip(*cells, strict=True)
    for name, size, places in zip(cube.axes, SIZE, by_axis, strict=True):
        extent = len(set(places))
        if extent == size:
            words.append(f"all {name}")
        elif extent > 1:
            words.append(f"{extent} of {size} {name}")
        else:
            words.append(f"one of the {name}")
    number = len(cells)
    return f"{number} values share statistics: {', '.join(words)}"


def _cube(cube: Cube) -> str:
    faces = []
    for cell in itertools.product(*map(range, SIZE)):
        sample, channel, position = cell
        if sample == 0:
            faces.append(_face(FRONT, cube, cell))
        if channel == 0:
            faces.append(_face(ABOVE, cube, cell))
        if position == 0:
            faces.append(_face(RIGHT, cube, cell))
    return "".join([*faces, *_texts(cube)])


def _texts(cube: Cube) -> list[str]:
    samples, channels, positions = SIZE
    middle = LEFT + positions * CELL / 2
    bottom = TOP + channels * CELL
    half = TOP + channels * CELL / 2
    x, y = _project((samples / 2, channels, 0))
    right, up = DEPTH
    slope = math.degrees(math.atan2(up, right))
    of_samples, of_channels, of_positions = cube.axes
    return [
        _text(middle, 20, cube.title, "title"),
        _text(middle, bottom + 18, of_positions),
        _text(LEFT - 10, half, of_channels, turn=-90),
        _text(x + 9, y + 13, of_samples, turn=slope),
    ]


def _text(x: float, y: float, text: str, kind: str = "", turn: float = 0) -> str:
    where = f"translate({x:.0f} {y:.0f}) rotate({turn:.0f})"
    return (
        f'<text class="{kind}" text-anchor="middle" transform="{where}">{text}</text>'
    )


def _project(point: tuple[float, float, float]) -> tuple[float, float]:
    """Where a point (sample, channel, position) lies on the page."""
    sample, channel, position = point
    right, up = DEPTH
    x = LEFT + (SIZE[2] - position) * CELL + sample * right
    y = TOP + channel * CELL + sample * up
    return x, y


def _face(corners: tuple[Cell, ...], cube: Cube, cell: Cell) -> str:
    """One side of a cell, whose corners are counted from the cell's own place."""
    kind = ""
    if cell in cube.shared:
        kind = "shared"
    if cell == cube.observed:
        kind = "observed"
    points = []
    for corner in corners:
        x, y = _project(tuple(map(operator.add, cell, corner)))
        points.append(f"{x:.0f},{y:.0f}")
    return f'<polygon class="{kind}" points="{" ".join(points)}"/>'
