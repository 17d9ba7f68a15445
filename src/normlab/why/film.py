"""Running statistics beside those of batches, while a network trains.

Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
internal covariate shift", 2015, arXiv 1502.03167, section 3.1; Wu and Johnson,
"Rethinking 'batch' in batchnorm", 2021, arXiv 2105.07576, section 3.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from torch import nn

from normlab.data.blocks import Block
from normlab.evaluation.inspection import describe_layers


def frame_steps(last: int, frames: int) -> list[int]:
    """Numbers of steps after which the film has a frame: 0, and ever rarer ones.

    Args:
        last: the last of them, at least 1.
        frames: how many there are at most, at least 2.
    """
    later = np.geomspace(1, last, frames - 1).round().astype(int)
    return sorted({0, *later.tolist()})


def film_frame(
    network: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Block]
) -> pd.DataFrame:
    """Running statistics and those of batches, channel by channel.

    Args:
        network: it is left as it was.
        layers: norm layers of the network by name.
        batches: blocks of one batch each, over which batch statistics are averaged.

    Returns:
        One row per channel (and time step, if a layer has statistics for each), with
        the columns `layer`, `channel`, `running_mean`, `batch_mean`, `running_var` and
        `batch_var`; empty if no layer has running statistics.
    """
    tables = []
    for state in describe_layers(network, dict(layers), batches):
        if state.running_mean is None or state.running_var is None:
            continue
        columns = {
            "running_mean": state.running_mean.ravel(),
            "batch_mean": state.batch_mean.ravel(),
            "running_var": state.running_var.ravel(),
            "batch_var": state.batch_var.ravel(),
        }
        table = pd.DataFrame(columns)
        table.insert(0, "layer", state.name)
        table.insert(1, "channel", np.arange(len(table)))
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def film_layer(names: Sequence[str]) -> str:
    """The layer that the film shows: the last one, before which all others change."""
    return names[-1]
