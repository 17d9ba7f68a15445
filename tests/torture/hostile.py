"""Configurations that try to run code, given to the command line."""

import contextlib
import io
import pickle
import sys
from pathlib import Path
from unittest import mock

from damages import Hostile, save_hostile

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "callbacks": "hydra: {callbacks: {x: {_target_: joblib.load, filename: PICKLE}}}",
    "handlers": "hydra: {job_logging: {handlers: {x: "
    "{(): pandas.read_pickle, filepath_or_buffer: PICKLE}}}}",
    "variables": "hydra: {job: {env_set: {LD_PRELOAD: PICKLE}}}",
    "yaml": 'seed: !!python/object/apply:os.system ["touch MARKER"]',
    "trusts_itself": "trusted_packages: [joblib]\n"
    "model: {hidden: [{_target_: joblib.load, filename: PICKLE}]}",
    "sweeper": "hydra: {sweeper: "
    "{params: [{_target_: joblib.load, filename: PICKLE}]}}",
}
WORDS = [
    ["model._target_=os.system", "+model.command=touch MARKER"],
    ["+model.x={_target_:os.system,command:touch MARKER}"],
    ["model.hidden=[{_target_:subprocess.call,_partial_:true,args:[touch,MARKER]}]"],
    ["norm._target_=builtins.exec", "norm._partial_=true"],
    ["optimizer._target_=torch.load", "+optimizer.f=PICKLE"],
    ["optimizer._target_=torch.optim.optimizer.torch.load", "+optimizer.f=PICKLE"],
    ["+model.x={_target_:torch.nn.modules.module.torch.hub.load,repo_or_dir:FOLDER,"
     "model:x}"],
    ["+model.x={_target_:normlab.results._git,"
     "_args_:[FOLDER,-c,'alias.x=!touch MARKER',x]}"],
    ["+model.x={_target_:pytorch_lightning.LightningModule.load_from_checkpoint,"
     "checkpoint_path:CKPT,"
     "weights_only:false}"],
    ["+model.x={_target_:timm.models.load_state_dict,checkpoint_path:CKPT,"
     "weights_only:false}"],
    ["+model.x={_target_:timm.create_model,model_name:resnet18,checkpoint_path:CKPT}"],
    ["model=alexnet", "model.pretrained=CKPT"],
    ["hydra/launcher=basic", "hydra.launcher._target_=os.system"],
    ["+model.x={_target_:hydra.utils.get_method,path:os.system}"],
    ["trusted_packages=[os]", "model._target_=os.system",
     "+model.command=touch MARKER"],
]  # fmt: skip


def hostile_configurations(scratch: Path) -> dict:
    """Give each to the command line, alone and in a sweep.

    Each is refused with exit code 2, and none of its code has run.
    """
    marker = scratch / "marker"
    places = {
        "MARKER": marker,
        "PICKLE": scratch / "x.pkl",
        "CKPT": scratch / "x.ckpt",
        "FOLDER": scratch,
    }
    places["PICKLE"].write_bytes(pickle.dumps(Hostile(marker)))
    save_hostile(places["CKPT"], marker)
    (scratch / "experiment").mkdir()
    for name, text in FILES.items():
        (scratch / "experiment" / f"{name}.yaml").write_text(
            "# @package _global_\n" + _filled(text, places)
        )
    commands = [["--config-dir", str(scratch), f"experiment={name}"] for name in FILES]
    commands += [
        ["--config-dir", str(scratch), "-m", f"experiment={name},null"]
        for name in FILES
    ]
    commands += [[_filled(word, places) for word in words] for words in WORDS]
    wrong = []
    for words in commands:
        code, errors = command_line(
            [*words, f"paths.outputs={scratch / 'outputs'}", "trainer.max_epochs=1"]
        )
        wrong += [] if code == 2 else [f"{words}: exit code {code}: {errors}"]
        wrong += [f"{words}: its code was run"] if marker.exists() else []
        marker.unlink(missing_ok=True)
    return {"configurations": len(commands), "wrong": wrong}


def _filled(text: str, places: dict[str, Path]) -> str:
    for name, path in places.items():
        text = text.replace(name, str(path))
    return text


def command_line(words: list[str]) -> tuple[int | str | None, str]:
    """Exit code and errors of the command line, in this process."""
    from normlab.main import main

    errors = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [str(ROOT / "train.py"), *words]),
        mock.patch.dict("os.environ", {"HYDRA_FULL_ERROR": "0"}),
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            main()
        except SystemExit as end:
            return end.code, errors.getvalue()
        except BaseException as error:
            return f"{type(error).__name__}: {error}", errors.getvalue()
    return 0, errors.getvalue()
