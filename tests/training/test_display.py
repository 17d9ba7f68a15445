"""What a person reads before and after a run."""

import subprocess
import sys

import pytest
import torch
from rich.console import Console
from torchvision import models

from normlab.models import Swap, replace_norms
from normlab.norms import BatchNorm
from normlab.training.display import (
    norm_report_table,
    print_result,
    print_start,
    swap_table,
)

RESULT = {
    "run": "digits-mlp/custom-seed3",
    "status": "finished",
    "reason": None,
    "seed": 3,
    "choices": {"model": "mlp", "norm": "custom", "dataset": "digits"},
    "metrics": {"train/loss": 0.25, "val/loss": 0.5, "test/loss": 0.75},
    "best_epoch": 4,
    "epochs": 10,
    "seconds": 12.34,
    "num_parameters": 26634,
    "num_norm_layers": 2,
    "samples_per_second": 12345.6,
    "step_milliseconds": 1.234,
    "outside_share": 0.456,
}


@pytest.mark.parametrize(
    ("known", "line"),
    [
        (
            {},
            "12.3; 12,346 samples/s, 1.23 ms per step, "
            "46% of the time outside the network",
        ),
        (
            {"samples_per_second": None},
            "12.3; 1.23 ms per step, 46% of the time outside the network",
        ),
        ({"samples_per_second": None, "step_milliseconds": None}, "12.3"),
    ],
    ids=["whole", "resumed inside its last epoch", "made no step"],
)
def test_the_end_table(known, line, capsys, tmp_path):
    print_result(
        RESULT | known,
        {"paths": {"outputs": str(tmp_path)}, "logger": {"tensorboard": {}}},
    )
    lines = [
        line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()
    ]
    assert lines[0] == "mlp · custom · digits · seed 3"
    assert [word for row in lines[1:4] for word in row.split() if "─" not in word] == [
        *("metric", "train", "val", "test"),
        *("loss", "0.2500", "0.5000", "0.7500"),
    ]
    assert [tuple(row.split("  ", 1)) for row in lines[4:]] == [
        ("status", "finished"),
        ("best epoch", "4 of 10, its weights are kept and scored"),
        ("seconds", line),
        ("parameters", "26,634, 2 norm layers"),
        ("run folder", f"{tmp_path}/digits-mlp/custom-seed3"),
        ("curves", f"tensorboard --logdir {tmp_path}/digits-mlp"),
    ]


def test_the_end_table_says_what_ended_a_run_and_what_was_scored(capsys, tmp_path):
    more = {"ended_by": "max_seconds", "num_averaged": 7}
    print_result(RESULT | more, {"paths": {"outputs": str(tmp_path)}})
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "ended by  trainer.max_seconds" in lines
    assert "best epoch  4 of 10, the average of 7 weights is kept and scored" in lines
    print_result(RESULT | {"ended_by": "callback"}, {"paths": {"outputs": "x"}})
    assert "ended by  a callback" in capsys.readouterr().out
    whole = {"ended_by": "max_epochs", "num_averaged": None}
    print_result(RESULT | whole, {"paths": {"outputs": str(tmp_path)}})
    assert "ended by" not in capsys.readouterr().out


def test_a_failed_run_has_its_reason_and_no_metrics(capsys):
    kept = ("run", "seed", "choices")
    failed = {key: RESULT[key] for key in kept} | {"status": "failed", "metrics": {}}
    print_result(failed | {"reason": "a reason"}, {"paths": {"outputs": "outputs"}})
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [
        "status  failed: a reason",
        "run folder  outputs/digits-mlp/custom-seed3",
    ]


def test_paths_and_reasons_are_no_markup_and_no_commands_of_terminals(capsys):
    kept = ("run", "seed", "choices")
    failed = {key: RESULT[key] for key in kept} | {"status": "failed", "metrics": {}}
    reason = "ValueError: [/tmp/x] is bad [red] \x1b[2J :cat:"
    outputs = {"paths": {"outputs": "/x/[old] runs"}, "logger": {"tensorboard": {}}}
    print_result(failed | {"reason": reason}, outputs)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line] == [
        r"status  failed: ValueError: [/tmp/x] is bad [red] \x1b[2J :cat:",
        "run folder  /x/[old] runs/digits-mlp/custom-seed3",
        "curves  tensorboard --logdir /x/[old] runs/digits-mlp",
    ]


def test_the_start_shows_cautions_and_norms_on_standard_error(capsys):
    print_start(["this [is] a caution"])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "caution  this [is] a caution\n")
    print_start([], [Swap("bn1", "replaced", "BatchNorm2d", "BatchNorm", "")])
    assert "BatchNorm2d" in capsys.readouterr().err
    print_start([])
    assert capsys.readouterr().err == ""


def test_a_table_has_one_row_per_layer():
    swaps = [Swap("bn1", "replaced", "BatchNorm2d", "BatchNorm", "copied weight")]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(swap_table(swaps))
    assert all(
        word in capture.get()
        for word in ("layer", "bn1", "replaced", "BatchNorm2d", "copied weight")
    )


def test_the_report_puts_layers_with_one_fate_into_one_row():
    torch.manual_seed(0)
    report = replace_norms(models.resnet18(num_classes=4), BatchNorm)
    report.append(
        Swap("head", "left alone", "Other", "Other", "its class is not known here")
    )
    table = norm_report_table(report)
    assert list(table.columns[0].cells) == ["bn1 to layer4.1.bn2 (20)", "head"]
    assert list(table.columns[1].cells) == ["replaced", "left alone"]
    assert list(table.columns[4].cells)[1] == "its class is not known here"


def test_a_stored_result_is_shown_without_importing_torch():
    code = "import sys, normlab.training.display; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
