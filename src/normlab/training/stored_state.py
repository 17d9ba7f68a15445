"""Check, at the end of a run, that its stored state gives the scores of its result."""

from functools import partial
from itertools import islice
from pathlib import Path

from torch import nn

from normlab.data.blocks import EvaluationBlocks
from normlab.device.devices import evaluation_context, scoring_device
from normlab.sharing import shared
from normlab.training.build import build_network, without_pretrained
from normlab.training.checkpoint_files import load
from normlab.training.fit_check import OF_NETWORK
from normlab.training.outputs import agree, evaluated, largest_difference
from normlab.training.preparation import Prepared

ROWS = 256
TOLERANCE = 1e-4  # relative; the same weights give the same outputs up to rounding


def check_stored_state(config: dict, prepared: Prepared, path: Path) -> None:
    """Build the network again, load the best state, and compare outputs on one block.

    A norm that keeps state outside of buffers has it in the network that was trained
    and not in the file, so that whoever loads the run would get another score.

    Args:
        config: a resolved configuration.
        prepared: the objects of the run; its network has the best state.
        path: the best checkpoint.

    Raises:
        RuntimeError: the outputs differ.
    """
    part = prepared.parts.validation
    device = scoring_device(prepared.device.accelerator)
    context = evaluation_context(prepared.device.precision, device)
    block = next(islice(EvaluationBlocks(part), 1))
    inputs = block.inputs[:ROWS].to(device)
    trained = prepared.task.network
    stored = _stored_network(config, prepared, path).to(device)
    outputs = []
    for network in (trained, stored):
        with context():
            output = evaluated(network, inputs)
        outputs.append(output.float())
    scored, loaded = outputs
    if not scored.isfinite().all():
        return  # the scores say that the run diverged
    if not agree(scored, loaded, TOLERANCE):
        difference = largest_difference(scored, loaded)
        raise RuntimeError(
            f"the stored state must give the outputs of the trained network, they "
            f"differ by up to {difference:.2g}: the network keeps state outside of "
            f"parameters and buffers, which {path.name} does not hold"
        )


def _stored_network(config: dict, prepared: Prepared, path: Path) -> nn.Module:
    """The network as whoever loads the run gets it.

    Runs of one network that share their work build it once.
    """
    parts = prepared.parts
    settings = {key: config[key] for key in OF_NETWORK}
    settings["shapes"] = (parts.input_shape, parts.num_outputs)
    if _has_hidden_buffers(prepared.task.network):
        settings["seed"] = config["seed"]
    build = partial(
        build_network, without_pretrained(config), parts.input_shape, parts.num_outputs
    )
    network, _ = shared("network", settings, build)
    network.to(next(prepared.task.network.parameters()).dtype)
    network.load_state_dict(load(path)["network"])
    return network


def _has_hidden_buffers(network: nn.Module) -> bool:
    """Whether buffers are not stored, so that they may depend on the seed."""
    stored = network.state_dict()
    return any(name not in stored for name, _ in network.named_buffers())
