"""Runs of two processes over gloo, which must end like a run of one process.

Digits with batches of 127: 1,150 training samples are 9 steps and one of 7 samples, of
which one process gets four and the other three.
"""

import csv
import errno
import os
import signal
import threading
import time

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.data.blocks import EvaluationBlocks
from normlab.device import sharding
from normlab.endings import STORAGE_ERRORS, Interrupted
from normlab.training import processes
from normlab.training.checkpoint_files import load
from normlab.training.checkpoints import Checkpoints
from normlab.training.evaluation import evaluate
from normlab.training.experiment import run
from normlab.training.fit import fit
from normlab.training.preparation import prepare
from normlab.training.processes import FIRST_STORAGE_ERROR, NO_SPACE, _reason

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*treespec.*")]
WORDS = [
    "norm.sync=true",
    "dataset.batch_size=127",
    "trainer.max_epochs=2",
    "optimizer.momentum=0.9",
    "progress=false",
]
WORDS += [
    "optimizer.lr=0.02",
    "checkpoint.every_n_steps=3",
    "trainer.gradient_clip=1.0",
    "device.accelerator=cpu",
]
DEVICES = ("ddp", "fsdp")
CASES = {name: [f"device={name}", *WORDS] for name in DEVICES}
CASES |= {
    f"{name}, norms apart": [*words, "norm.sync=false"] for name, words in CASES.items()
}
ACCUMULATED = [*WORDS, "trainer.accumulate=3"]  # ten batches in four steps
SAM = [word for word in ACCUMULATED if word != "optimizer.momentum=0.9"]
SAM += ["optimizer=sam", "trainer.average=ema", "trainer.average_decay=0.9"]
SAM += ["callbacks=[gradient_norm]"]  # has hooks in every step
# Of several passes per step; each is compared with one process.
SEVERAL_PASSES = {
    "fsdp, accumulated": ["device=fsdp", *ACCUMULATED],
    "ddp, sam, averaged and with hooks": ["device=ddp", *SAM],
}
CASES |= SEVERAL_PASSES
# Of 127 samples the first process draws for 64 and the second one for 63.
CASES |= {"ddp, with dropout": [*CASES["ddp"], "model.dropout=0.2"]}


@pytest.fixture(scope="module")
def module_compose():
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from normlab.config.identity import configuration_directory

    def composed(*words):
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            config = compose("config", overrides=list(words), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        plain = OmegaConf.to_container(config, resolve=False)
        del plain["hydra"]
        return OmegaConf.to_container(OmegaConf.create(plain), resolve=True)

    return composed


def several_fits(rank, configs, folder):
    """Fit every configuration twice; the second time is interrupted after five steps.

    This runs in one of two processes.
    """
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(configs["port"]),
        "LOCAL_RANK": str(rank),
    }
    os.environ |= {"NODE_RANK": "0", "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    sharding.SMALLEST_UNIT = (
        2000  # the first of two layers is a unit of its own, the second is not
    )
    found = {}
    prepared = {
        name: [prepare(configs[name]) for _ in range(3)] for name in CASES
    }  # before processes know of others
    for name in CASES:
        found[name] = _fit(configs[name], folder / name, prepared[name].pop())
        original, calls = Checkpoints.on_train_batch_end, []

        def interrupt(self, *arguments, original=original, calls=calls):
            original(self, *arguments)
            calls.append(1)
            if len(calls) == 5:
                raise Interrupted(signal.SIGTERM)

        Checkpoints.on_train_batch_end = interrupt
        with pytest.raises(Interrupted):
            _fit(configs[name], folder / f"{name} again", prepared[name].pop())
        Checkpoints.on_train_batch_end = original
        found[f"{name} again"] = _fit(
            configs[name], folder / f"{name} again", prepared[name].pop()
        )
    if rank == 0:
        torch.save(found, folder / "found.pt")
    torch.distributed.destroy_process_group()


def _fit(config, folder, prepared):
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    outcome = fit(config, prepared, folder)
    sharded = [
        value
        for value in prepared.task.network.parameters()
        if type(value) is not nn.Parameter
    ]
    return {
        "best": outcome["best"],
        "steps": outcome["progress"]["steps"],
        "sharded": len(sharded),
    }


@pytest.fixture(scope="module")
def fits(module_compose, tmp_path_factory):
    """Outcomes by device, and that of one process."""
    folder = tmp_path_factory.mktemp("processes")
    configs = {name: module_compose(*words) for name, words in CASES.items()}
    configs["port"] = processes._free_port()
    torch.multiprocessing.start_processes(
        several_fits, (configs, folder), 2, start_method="spawn"
    )
    one = module_compose("device=cpu", *WORDS)
    found = torch.load(folder / "found.pt", weights_only=True)
    return found | {"one": _fit(one, folder / "one", prepare(one)), "folder": folder}


@pytest.mark.parametrize("device", DEVICES)
def test_two_processes_with_uneven_batches_end_as_one(fits, device):
    one, two = fits["one"], fits[device]
    assert (two["steps"], two["best"]["epoch"]) == (20, one["best"]["epoch"])
    for name, expected in one["best"]["network"].items():
        assert torch.allclose(
            two["best"]["network"][name], expected, rtol=1e-4, atol=1e-5
        ), name
    assert two["best"]["metrics"] == pytest.approx(one["best"]["metrics"], rel=1e-4)


@pytest.mark.parametrize("case", SEVERAL_PASSES)
def test_several_passes_per_step_end_as_in_one_process(
    fits, module_compose, tmp_path, case
):
    _, *words = SEVERAL_PASSES[case]
    config = module_compose("device=cpu", *words)
    one, two = _fit(config, tmp_path, prepare(config)), fits[case]
    assert one["steps"] == two["steps"] == 8
    assert two["best"]["metrics"] == pytest.approx(one["best"]["metrics"], rel=1e-4)
    for name, expected in one["best"]["network"].items():
        found = two["best"]["network"][name]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_equality_would_notice_a_last_batch_weighted_wrong(
    fits, module_compose, tmp_path, monkeypatch
):
    """One process whose last batch counts its halves as if they had the same size."""
    original = nn.functional.cross_entropy

    def unweighted(logits, targets, **options):
        if len(targets) != 7 or options.get("reduction") == "sum":
            return original(logits, targets, **options)
        halves = [
            original(logits[start::2], targets[start::2], **options) for start in (0, 1)
        ]
        return sum(halves) / 2

    monkeypatch.setattr(
        "normlab.training.classification.functional.cross_entropy", unweighted
    )
    config = module_compose("device=cpu", *WORDS)
    wrong = _fit(config, tmp_path, prepare(config))["best"]["network"]
    expected = fits["one"]["best"]["network"]
    assert not all(
        torch.allclose(wrong[name], expected[name], rtol=1e-4, atol=1e-5)
        for name in expected
    )


@pytest.mark.parametrize("case", CASES)
def test_interrupted_processes_end_in_the_same_bits(fits, case):
    undisturbed, again = (fits[name]["best"] for name in (case, f"{case} again"))
    assert again["metrics"] == undisturbed["metrics"]
    assert all(
        torch.equal(value, undisturbed["network"][name])
        for name, value in again["network"].items()
    )
    rows = []
    for name in (case, f"{case} again"):
        with open(fits["folder"] / name / "metrics.csv") as file:
            rows.append([row | {"seconds": None} for row in csv.DictReader(file)])
    assert (
        rows[0] == rows[1]
    )  # sums of every process over the batches before the interruption are in them


@pytest.mark.parametrize("case", CASES)
def test_processes_score_the_state_that_is_stored(fits, module_compose, case):
    prepared = prepare(module_compose("device=cpu", *WORDS))
    prepared.task.network.load_state_dict(fits[case]["best"]["network"])
    metrics = evaluate(prepared.task, EvaluationBlocks(prepared.parts.validation))
    assert {
        name: fits[case]["best"]["metrics"][f"val/{name}"] for name in metrics
    } == pytest.approx(metrics, rel=1e-5)


def test_fsdp_cuts_every_parameter_up_and_stores_whole_ones(fits):
    assert (fits["ddp"]["sharded"], fits["fsdp"]["sharded"]) == (0, 10)
    state = load(fits["folder"] / "fsdp" / "checkpoints" / "last.ckpt")
    expected = fits["one"]["best"]["network"]
    assert {name: value.shape for name, value in state["network"].items()} == {
        name: value.shape for name, value in expected.items()
    }
    momentum = [
        entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()
    ]
    assert sorted(value.numel() for value in momentum) == sorted(
        value.numel()
        for name, value in expected.items()
        if name.endswith(("weight", "bias"))
    )


def test_a_killed_process_interrupts_the_run_which_then_goes_on(
    fits, module_compose, tmp_path, monkeypatch
):
    """The second process is killed after a checkpoint; the first must not wait."""
    config = module_compose("device=ddp", *WORDS, f"paths.outputs={tmp_path}")
    original = processes._signals_passed_on

    def kill_when_saved(pids):
        def wait_and_kill():
            while not (run_folder(config) / "checkpoints" / "last.ckpt").is_file():
                time.sleep(0.01)
            os.kill(pids[1], signal.SIGKILL)

        threading.Thread(target=wait_and_kill).start()
        return original(pids)

    monkeypatch.setattr(processes, "_signals_passed_on", kill_when_saved)
    with pytest.raises(Interrupted, match="stopped by SIGKILL"):
        run(config)
    assert not (run_folder(config) / "result.json").exists()
    monkeypatch.undo()
    result = run(config)
    assert result["status"] == "finished"
    best = load(run_folder(config) / "checkpoints" / "best.ckpt")["network"]
    assert all(
        torch.equal(value, fits["ddp"]["best"]["network"][name])
        for name, value in best.items()
    )


def test_exit_codes_of_processes(tmp_path):
    for code, number in (
        (143, signal.SIGTERM),
        (130, signal.SIGINT),
        (-9, signal.SIGKILL),
        (-11, signal.SIGSEGV),
    ):
        reason = _reason(code, 0, tmp_path)
        assert (type(reason), reason.signal_number) == (Interrupted, number)
    assert _reason(NO_SPACE, 0, tmp_path).errno == errno.ENOSPC
    for number, error in enumerate(STORAGE_ERRORS):
        assert _reason(FIRST_STORAGE_ERROR + number, 0, tmp_path).errno == error
    assert str(_reason(3, 1, tmp_path)) == "process 1 ended with exit code 3"


def test_the_reason_of_a_failed_process_is_one_line(
    module_compose, tmp_path, monkeypatch
):
    def refuse(*arguments, **options):
        return torch.multiprocessing.start_processes(
            _fail, (), 2, join=False, start_method="fork"
        )

    config = module_compose("device=ddp", *WORDS, f"paths.outputs={tmp_path}")
    monkeypatch.setattr(processes, "_start", refuse)
    result = run(config)
    reasons = [
        f"RuntimeError: process {rank}: ValueError: no such thing" for rank in (0, 1)
    ]  # whoever fails first
    assert (result["status"], result["reason"] in reasons) == ("failed", True)
    assert "in _fail" in (run_folder(config) / "traceback.txt").read_text()


def _fail(rank):
    raise ValueError("no such thing")


def test_processes_write_checkpoints_together_whatever_their_clocks_say(
    module_compose, tmp_path
):
    """To the first process every checkpoint is old, to the second one none is."""
    words = ["device=ddp", "device.accelerator=cpu", "trainer.max_epochs=3"]
    config = module_compose(*words, "progress=false", "norm.sync=true")
    port = processes._free_port()
    (tmp_path / "checkpoints").mkdir()
    torch.multiprocessing.start_processes(
        _fit_by_its_clock, (config, port, tmp_path), 2, start_method="spawn"
    )
    state = load(tmp_path / "checkpoints" / "previous.ckpt")
    assert state["progress"]["epoch"] == 2


def _fit_by_its_clock(rank, config, port, folder):
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": "2",
    }
    torch.set_num_threads(1)
    config["checkpoint"]["every_seconds"] = [0.0, 1e9][rank]
    fit(config, prepare(config), folder)
    torch.distributed.destroy_process_group()
