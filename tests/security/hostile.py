"""Files that try to run code or to write where nobody asked, and a way to try them.

In every text, MARKER stands for a file that exists only if the attempt succeeded,
PICKLE for a pickle that creates it, CKPT for such a checkpoint, and FOLDER for the
folder of all of them.
"""

import contextlib
import io
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parents[2]


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


@dataclass(frozen=True)
class Trap:
    """A folder with hostile files."""

    folder: Path

    @property
    def marker(self) -> Path:
        return self.folder / "marker"

    def fill(self, text: str) -> str:
        """The text with the paths of this folder."""
        places = {
            "MARKER": self.marker,
            "PICKLE": self.folder / "x.pkl",
            "CKPT": self.folder / "x.ckpt",
            "FOLDER": self.folder,
        }
        for name, path in places.items():
            text = text.replace(name, str(path))
        return text


def make_trap(folder: Path) -> Trap:
    """Write the hostile files."""
    trap = Trap(folder)
    (folder / "x.pkl").write_bytes(pickle.dumps(Hostile(trap.marker)))
    torch.save({"network": Hostile(trap.marker)}, folder / "x.ckpt")
    return trap


def command_line(words: list[str]) -> tuple[object, str]:
    """Exit code and errors of the command line of training, in this process."""
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
    return 0, errors.getvalue()


LOAD = "{_target_: joblib.load, filename: PICKLE}"
DECODED = "'${oc.decode:\"{_target_:joblib.load,filename:PICKLE}\"}'"
CREATED = "'${oc.create:{_target_:joblib.load,filename:PICKLE}}'"
GIT = "normlab.results._git"
CREATED_GIT = (
    "'${oc.create:{_target_:normlab.results._git,"
    '_args_:[FOLDER,-c,"alias.x=!touch MARKER",x]}}\''
)
ESCAPED_GIT = CREATED_GIT.replace("'$", "'\\$")

# The module below marks that it was imported.
OWN_CODE = "model: {_target_: hostile_module.x}"
PLUGIN = "hydra_plugins.normlab_submitit_launcher"
REPORT = "_target_: normlab.search.pruning.ReportToTrial, storage: 'sqlite:///MARKER'"

# Files of a folder that somebody passes on, named by --config-dir and experiment=NAME.
FILES = {
    "callbacks": f"hydra: {{callbacks: {{x: {LOAD}}}}}",
    "callbacks decoded": f"hydra: {{callbacks: {{x: {DECODED}}}}}",
    "callbacks created": f"hydra: {{callbacks: {{x: {CREATED}}}}}",
    "all callbacks decoded": (
        "hydra: {callbacks: "
        "'${oc.decode:\"{x:{_target_:joblib.load,filename:PICKLE}}\"}'}"
    ),
    "factory of a handler": (
        "hydra: {job_logging: {handlers: {x: "
        "{(): pandas.read_pickle, filepath_or_buffer: PICKLE}}}}"
    ),
    "factory of a formatter": (
        "hydra: {hydra_logging: {version: 1, formatters: {x: "
        "{(): joblib.load, filename: PICKLE}}}}"
    ),
    "file of a handler": (
        "hydra: {job_logging: {version: 1, handlers: {x: "
        "{class: logging.FileHandler, filename: MARKER, mode: w}}, "
        "root: {handlers: [x]}}}"
    ),
    "file of Hydra's handler": (
        "hydra: {hydra_logging: {version: 1, handlers: {x: "
        "{class: logging.FileHandler, filename: MARKER, mode: w}}, "
        "root: {handlers: [x]}}}"
    ),
    "open in logging": (
        "hydra: {hydra_logging: {version: 1, handlers: {x: "
        "{(): logging.io.open, file: MARKER, mode: w}}}}"
    ),
    "a folder in logging": (
        "hydra: {hydra_logging: {version: 1, formatters: {x: "
        "{(): logging.os.mkdir, path: MARKER}}}}"
    ),
    "import in logging": (
        "hydra: {hydra_logging: {version: 1, handlers: {x: "
        "{class: logging.StreamHandler, stream: 'ext://hostile_module.x'}}}}"
    ),
    "environment": "hydra: {job: {env_set: {LD_PRELOAD: PICKLE}}}",
    "output folder": "hydra: {output_subdir: x, run: {dir: MARKER}}",
    "constructor of YAML": 'seed: !!python/object/apply:os.system ["touch MARKER"]',
    "trusts itself": (f"trusted_packages: [joblib]\nmodel: {{hidden: [{LOAD}]}}"),
    "forges what was typed": (
        "trusted_packages: [hostile_module]\n"
        "hydra: {overrides: {task: ['trusted_packages=[hostile_module]']}}\n"
        f"{OWN_CODE}"
    ),
    "forges words of Hydra": (
        "hydra: {overrides: {hydra: [hydra.run.dir=MARKER]}, run: {dir: MARKER}}"
    ),
    "trusts itself in a sweep": (
        "hydra: {mode: MULTIRUN, sweeper: "
        f"{{params: {{trusted_packages: '[hostile_module]'}}}}}}\n{OWN_CODE}"
    ),
    "working folder": "hydra: {run: {dir: FOLDER}, job: {chdir: true}}",
    "folder of a run": "hydra: {run: {dir: MARKER}}",
    "folder of a sweep": "hydra: {mode: MULTIRUN, sweep: {dir: MARKER}}",
    "copied environment": (
        "hydra: {job: {env_copy: [HOME]}}\ngroup: '${hydra:job.env_set.HOME}'"
    ),
    "copied variable that is not set": (
        "hydra: {job: {env_copy: [NORMLAB_IS_NOT_SET]}}"
    ),
    "a secret in a defaults list": (
        "defaults: [{optional /leak: '${oc.env:HOME}'}]\n"
        "group: '${hydra:runtime.choices.leak}'"
    ),
    "a secret": "group: '${oc.env:HOME}'",
    "a secret for the sweeper": "hydra: {sweeper: {params: {x: '${oc.env:HOME}'}}}",
    "what a launcher imports": (
        f"hydra: {{sweeper: {{params: {{_target_: {PLUGIN}.Path.write_text, "
        f"_args_: [{{_target_: {PLUGIN}.Path, _args_: [MARKER]}}, text]}}}}}}"
    ),
    "search path of Python": (
        "hydra: {sweeper: {params: {_args_: [0, FOLDER], "
        "_target_: hydra_plugins.normlab_grid_sweeper.sys.path.insert}}}"
    ),
    "database of a search": "hydra: {sweeper: {storage: 'sqlite:///MARKER'}}",
    "database of a trial": f"trial: {{{REPORT}, study: x, number: 0}}",
    "database of a sweep": (
        "hydra: {mode: MULTIRUN, sweeper: {params: "
        f'{{trial: "{{{REPORT}, study: x, number: 0}}"}}}}}}'
    ),
    "server of a logger": (
        "logger: {x: {_target_: normlab.loggers.mlflow, _partial_: true, "
        "tracking_uri: 'sqlite:///MARKER'}}"
    ),
    "sweeper": f"hydra: {{sweeper: {{params: [{LOAD}]}}}}",
    "sweeper created": f"hydra: {{sweeper: {{params: {{x: {CREATED}}}}}}}",
    "launcher": "hydra: {launcher: {_target_: os.system, command: touch MARKER}}",
    "model created": f"model: {{hidden: [{CREATED}]}}",
    "model created from git": f"model: {{hidden: [{CREATED_GIT}]}}",
    "model escaped": f"model: {{hidden: [{ESCAPED_GIT}]}}",
    "optimizer escaped": f"optimizer: {{betas: {ESCAPED_GIT}}}",
    "norm escaped": f"norm: {{x: {ESCAPED_GIT}}}",
    "scheduler escaped": f"scheduler: {{x: {ESCAPED_GIT}}}",
    "loader escaped": f"dataset: {{load: {{x: {ESCAPED_GIT}}}}}",
    "logger escaped": f"logger: {{tensorboard: {{x: {ESCAPED_GIT}}}}}",
    "whole logger escaped": f"logger: {{x: {ESCAPED_GIT}}}",
    "trial": (
        "trial: {_target_: normlab.search.pruning.find_trial, storage: MARKER, "
        "study_name: x, number: 0}"
    ),
}

# What such a file may try to hand to the jobs of SLURM.
FOR_SLURM = {
    "shell": "setup: [touch MARKER]",
    "output of a job": "additional_parameters: {output: MARKER}",
    "option of sbatch": "output: MARKER",
}

# Words of a command that somebody passes on.
WORDS = {
    "os.system": ["model._target_=os.system", "+model.command=touch MARKER"],
    "nested os.system": ["+model.x={_target_:os.system,command:touch MARKER}"],
    "partial call": [
        "model.hidden=[{_target_:subprocess.call,_partial_:true,args:[touch,MARKER]}]"
    ],
    "exec": ["norm._target_=builtins.exec", "norm._partial_=true"],
    "torch.load": ["optimizer._target_=torch.load", "+optimizer.f=PICKLE"],
    "torch.load through a module": [
        "optimizer._target_=torch.optim.optimizer.torch.load",
        "+optimizer.f=PICKLE",
    ],
    "torch.hub": [
        "+model.x={_target_:torch.nn.modules.module.torch.hub.load,"
        "repo_or_dir:FOLDER,model:x}"
    ],
    "loss": ["+task.loss._target_=torch.nn.modules.module.torch.hub.load"],
    "argument of a loss": [
        "+task.loss={_target_:torch.nn.CrossEntropyLoss,"
        "weight:{_target_:torch.nn.modules.module.torch.hub.load,repo_or_dir:FOLDER}}"
    ],
    "git": [
        f"+model.x={{_target_:{GIT},_args_:[FOLDER,-c,'alias.x=!touch MARKER',x]}}"
    ],
    "git created": [
        f"+model.x=${{oc.create:{{_target_:{GIT},"
        "_args_:[FOLDER,-c,'alias.x=!touch MARKER',x]}}"
    ],
    "load_from_checkpoint": [
        "+model.x={_target_:pytorch_lightning.LightningModule.load_from_checkpoint,"
        "checkpoint_path:CKPT,weights_only:false}"
    ],
    "timm load_state_dict": [
        "+model.x={_target_:timm.models.load_state_dict,checkpoint_path:CKPT,"
        "weights_only:false}"
    ],
    "timm create_model": [
        "+model.x={_target_:timm.create_model,model_name:resnet18,checkpoint_path:CKPT}"
    ],
    "weights": ["model=alexnet", "model.pretrained=CKPT"],
    "launcher": ["hydra/launcher=basic", "hydra.launcher._target_=os.system"],
    "code for the tasks of Ray": [
        *("-m", "hydra/launcher=ray", "seed=0,1"),
        "+hydra.launcher.init.runtime_env={env_vars:{PYTHONPATH:FOLDER}}",
    ],
    "resources of Ray": [
        *("-m", "hydra/launcher=ray", "seed=0,1"),
        "+hydra.launcher.remote.runtime_env={py_executable:MARKER}",
    ],
    "get_method": ["+model.x={_target_:hydra.utils.get_method,path:os.system}"],
    "trust in the standard library": [
        "trusted_packages=[os]",
        "model._target_=os.system",
        "+model.command=touch MARKER",
    ],
    "write_file": [
        "+model.x={_target_:torchvision.io.write_file,filename:MARKER,data:[1]}"
    ],
    "download_url": [
        "+model.x={_target_:torchvision.datasets.utils.download_url,"
        "url:'file://PICKLE',root:FOLDER,filename:marker}"
    ],
    "download_file": [
        "+dataset.load.x={_target_:normlab.data.downloads.download_file,"
        "url:'file://PICKLE',path:MARKER}"
    ],
    "download_archive": [
        "dataset.load._target_=normlab.data.downloads.download_archive",
        "+dataset.load.url=file://PICKLE",
        "+dataset.load.folder=MARKER",
    ],
    "save_hparams_to_yaml": [
        "+model.x={_target_:pytorch_lightning.core.saving.save_hparams_to_yaml,"
        "config_yaml:MARKER,hparams:{a:1}}"
    ],
    "update_summary": [
        "+model.x={_target_:timm.utils.update_summary,epoch:0,train_metrics:{},"
        "eval_metrics:{},filename:MARKER,write_header:true}"
    ],
    "setup_default_logging": [
        "+model.x={_target_:timm.utils.setup_default_logging,log_path:MARKER}"
    ],
    "get_outdir": ["+model.x={_target_:timm.utils.get_outdir,path:MARKER}"],
    "cached_array": [
        "+model.x={_target_:normlab.data.array_cache.cached_array,path:MARKER}"
    ],
    "optimizer that is a function": [
        "optimizer._target_=torch.optim.swa_utils.update_bn"
    ],
    "logger that is no function of ours": [
        "+logger.x={_target_:pytorch_lightning.loggers.CSVLogger,save_dir:MARKER}"
    ],
}

# What somebody may have put into config.yaml of a run folder: a key and its value.
STORED = {
    "created": ("model.hidden", [CREATED_GIT.strip("'")]),
    "created call": ("model.hidden", [CREATED.strip("'")]),
    "decoded": ("model.activation", DECODED.strip("'")),
    "escaped": ("model.hidden", [ESCAPED_GIT.strip("'")]),
    "environment": ("group", "${oc.env:HOME}"),
    "model": ("model", {"_target_": "os.system", "command": "touch MARKER"}),
    "nested": ("model.hidden", [{"_target_": "joblib.load", "filename": "PICKLE"}]),
    "norm": ("norm", {"_target_": "builtins.exec", "_partial_": True}),
    "loader": ("dataset.load", {"_target_": "joblib.load", "filename": "PICKLE"}),
    "writer": (
        "dataset.load",
        {"_target_": "torchvision.io.write_file", "filename": "MARKER", "data": [1]},
    ),
    "reparametrize": ("reparametrize", {"_target_": "os.system"}),
    "logger": ("logger", {"x": {"_target_": "os.system", "command": "touch MARKER"}}),
    "trial": (
        "trial",
        {"_target_": "normlab.search.pruning.find_trial", "storage": "MARKER"},
    ),
    "trust": ("trusted_packages", ["joblib"]),
    "trust in the standard library": ("trusted_packages", ["os"]),
}
