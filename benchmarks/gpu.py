"""On a CUDA device: epochs against a bare loop, its idle time, the Triton batch norm.

    python benchmarks/gpu.py DATA

DATA is the folder that holds MNIST/. Batches are 512 images, with the data on the
device, in float32 and in bf16 with channels_last and torch.compile. The bare loop
trains the same network under the same switches. Without a CUDA device there are no
rows.
"""

import json
import sys
import tempfile
from collections.abc import Callable

import torch
from bare import bare_epoch, mnist
from measure import Row, configured, epoch_seconds, show, take_turns, timed
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from normlab.config.identity import run_folder
from normlab.device.devices import evaluation_context
from normlab.norms import BatchNorm2d
from normlab.training.experiment import run
from normlab.training.preparation import prepare
from normlab.training.profiling import TRACE

BATCH = 512
MODELS = {"LeNet-5": ["model=lenet5"], "ResNet-20": ["model=resnet", "model.depth=20"]}
SWITCHES = {
    "float32": [],
    "bf16": ["device.precision=bf16-mixed"],
    "bf16, channels_last": ["device.precision=bf16-mixed", "device.channels_last=true"],
    "bf16, channels_last, compiled": [
        "device.precision=bf16-mixed",
        "device.channels_last=true",
        "device.compile=true",
    ],
}
SHAPES = ((64, 64, 56, 56), (64, 192, 27, 27), (128, 16, 32, 32))
# A batch norm that keeps nothing in a cache reads its input 6 times and writes it twice
# in a step, forward and backward.
PASSES = 8
# Shares to reach; rows show their inverse.
BUSY = 0.9
BANDWIDTH = 0.8


def bare(
    config: dict, parts: tuple[Tensor, ...], device: torch.device
) -> Callable[[], None]:
    """The bare loop's epoch on the device, under the switches of a configuration."""
    options = config["device"]
    net = prepare(config).task.network.to(device)
    if options["compile"]:
        net.compile()
    context = evaluation_context(options["precision"], device)
    return bare_epoch(
        net, tuple(part.to(device) for part in parts), BATCH, context, fused=True
    )


def epoch_rows(root: str, device: torch.device, rounds: int) -> list[Row]:
    """Whole runs against the bare loop, for every network and set of switches."""
    found = []
    parts = mnist(root)
    common = [
        "dataset=mnist",
        f"dataset.root={root}",
        f"dataset.batch_size={BATCH}",
        f"device={device.type}",
    ]
    for name, model in MODELS.items():
        for switches, words in SWITCHES.items():
            words = [
                *common,
                *model,
                *words,
                "norm=torch",
                "optimizer=adam",
                "trainer.max_epochs=4",
            ]
            loop = bare(configured(*words), parts, device)
            arms = {
                "normlab": lambda words=words: epoch_seconds(*words),
                "bare": timed(loop),
            }
            median = take_turns(arms, rounds)
            what = f"epoch of {name} on MNIST, batch {BATCH}, {switches}"
            found.append(Row(what, "bare loop", median["normlab"], median["bare"], 1.2))
    return found


def busy_row(root: str) -> Row:
    """The share of a block of steps during which kernels run, from `profile=true`."""
    words = [
        "dataset=mnist",
        f"dataset.root={root}",
        f"dataset.batch_size={BATCH}",
        "device=cuda",
        "profile=true",
    ]
    words += [
        *MODELS["ResNet-20"],
        "norm=torch",
        "optimizer.lr=0.01",
        "trainer.max_epochs=2",
        "progress=false",
    ]
    with tempfile.TemporaryDirectory() as outputs:
        config = configured(*words, f"paths.outputs={outputs}")
        run(config)
        events = json.loads((run_folder(config) / TRACE).read_text())["traceEvents"]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    seconds = 1e-6 * sum(event["dur"] for event in kernels)
    span = 1e-6 * (
        max(event["ts"] + event["dur"] for event in kernels)
        - min(event["ts"] for event in kernels)
    )
    name = (
        "from the first to the last kernel, steps of ResNet-20 on MNIST, batch "
        f"{BATCH}, float32"
    )
    return Row(name, "time in kernels alone", span, seconds, round(1 / BUSY, 2))


def triton_rows(device: torch.device) -> list[Row]:
    """The Triton batch norm against PyTorch's, and against a copy of as many bytes."""
    found = []
    for shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            x, dy = (torch.randn(shape, device=device, dtype=dtype) for _ in range(2))
            x.requires_grad_()
            layers = {
                "triton": BatchNorm2d(shape[1], kernel="triton", device=device),
                "torch": nn.BatchNorm2d(shape[1], device=device),
            }
            timers = {
                name: _timer("layer(x).backward(dy)", layer=layer, x=x, dy=dy)
                for name, layer in layers.items()
            }
            timers["copy"] = _timer("dy.copy_(x)", x=x.detach(), dy=dy)
            median = take_turns(timers, 3)
            size = " x ".join(map(str, shape))
            name = f"Triton batch norm {size}, {str(dtype).removeprefix('torch.')}"
            found.append(
                Row(
                    name, "PyTorch's", median["triton"], median["torch"], 1.0, unit="ms"
                )
            )
            copies = PASSES / 2 * median["copy"]
            found.append(
                Row(
                    name,
                    "copies of the same bytes",
                    median["triton"],
                    copies,
                    1 / BANDWIDTH,
                    unit="ms",
                )
            )
    return found


def _timer(statement: str, **names: object) -> Callable[[], float]:
    """An arm that measures milliseconds, waiting for the device."""
    timer = Timer(statement, globals=names)
    return lambda: 1e3 * timer.blocked_autorange(min_run_time=0.2).median


def rows(root: str, rounds: int = 3) -> list[Row]:
    """None without a CUDA device."""
    if not torch.cuda.is_available():
        return []
    device = torch.device("cuda")
    return [*epoch_rows(root, device, rounds), busy_row(root), *triton_rows(device)]


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("nothing to measure: there is no CUDA device here")
    print(torch.cuda.get_device_name())
    show(rows(sys.argv[1]))
