"""What is changed in the configuration of a stored run before it is built again.

The machine may lack the devices of the training, and an earlier version may have stored
the run. The scores stay those of the run.
"""

from typing import Any

from normlab.config.targets import check_homes
from normlab.device.devices import (
    Device,
    check_device,
    needs_gpu_to_synchronize,
    scoring_device,
)
from normlab.models.library import INCEPTIONS
from normlab.terminal import print_once


def rebuildable(config: dict) -> dict:
    """The configuration of a stored run as this machine and this version build it.

    Callbacks are left out, since they act in training only and may be of packages that
    are not trusted here, and so are loggers, whose packages may be missing.

    Args:
        config: the resolved configuration of the run.

    Raises:
        ValueError: it names code that is not trusted.
    """
    config = config | {"callbacks": {}, "logger": {}}
    check_homes(config)  # before the norm is looked up
    return config | {
        "device": device_here(config["device"]),
        "norm": norm_here(config),
        "model": _model_as_trained(config["model"]),
    }


def device_here(options: dict[str, Any]) -> dict[str, Any]:
    """The `device` group of a run, on what this machine has if it lacks its devices."""
    try:
        check_device(Device.from_config(options))
    except ValueError as error:
        fault, _, _ = str(error).partition(";")
        kind = scoring_device("auto").type
        where = "the CPU" if kind == "cpu" else f"one {kind} device"
        print_once(
            f"the run trained on other devices ({fault}); its network runs on {where}"
        )
        return options | {"accelerator": "auto", "devices": 1, "strategy": "auto"}
    return options


def norm_here(config: dict) -> dict[str, Any]:
    """The `norm` group of a run, which synchronizes only if this machine can.

    A network outside of training needs no other process, and the parameters and buffers
    of a norm have the same names without synchronization.

    Args:
        config: the resolved configuration of the run, whose targets were checked.
    """
    norm: dict[str, Any] = config["norm"]
    if needs_gpu_to_synchronize(norm, config["device"]["accelerator"]):
        return norm | {"sync": False}
    return norm


def _model_as_trained(model: dict[str, Any]) -> dict[str, Any]:
    """The `model` group of a run, with an option that earlier versions did not ask for.

    Their googlenet and inception_v3 with the weights of a file rescaled no inputs.
    """
    is_torchvision = model["_target_"].endswith(".TorchvisionModel")
    if not is_torchvision or model.get("name") not in INCEPTIONS:
        return model
    options = {"transform_input": False} | dict(model.get("options") or {})
    return model | {"options": options}
