"""What a person reads at the end of a run."""

import pytest

from normlab.training.display import print_result

RESULT = {
    **{
        "run": "digits-mlp/custom-seed3",
        "status": "finished",
        "reason": None,
        "seed": 3,
    },
    **{"choices": {"model": "mlp", "norm": "custom", "dataset": "digits"}},
    **{"metrics": {"train/loss": 0.25, "val/loss": 0.5, "test/loss": 0.75}},
    **{
        "best_epoch": 4,
        "epochs": 10,
        "seconds": 12.34,
        "num_parameters": 26634,
        "num_norm_layers": 2,
    },
    **{
        "samples_per_second": 12345.6,
        "step_milliseconds": 1.234,
        "outside_share": 0.456,
    },
}


@pytest.mark.parametrize(
    ("known", "line"),
    [
        (
            {},
            "12.3; 12,346 samples/s, 1.23 ms a step, 46% of the time outside the network",
        ),
        (
            {"samples_per_second": None},
            "12.3; 1.23 ms a step, 46% of the time outside the network",
        ),
        ({"samples_per_second": None, "step_milliseconds": None}, "12.3"),
    ],
    ids=["whole", "went on inside its last epoch", "made no step"],
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
