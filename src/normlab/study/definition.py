"""A question with its verdict rule, written before any run: `conf/study/<name>.yaml`.

The block `study:` of such a file holds `question`, `by`, `metric`, `baseline`,
`within`, `minimum_seeds`, `level`, `looks`, `control` and `claims`. A claim may replace
any of them, and it adds:

- `says`: the claim in a sentence;
- `expect`: `equal`, `higher`, `lower` or `not_worse`;
- `arms` and `margin`, as in `compare`;
- `select`: every arm at its best value of this setting;
- `confirm_seeds`: seeds, other than those of the grid, that test the chosen values;
- `largest_stable` and `tolerance`: compare the largest value of this setting whose
  validation metric is within the tolerance of the best, by seed;
- `interaction`: compare how much the metric changes between two values of a setting;
- `slope` and `scale`: compare its slope over the numbers of a setting;
- `at`: compare at a multiple of the largest value at which an arm trains;
- `ratio_to_target`: compare the steps until a metric reaches a target;
- `value`: compare the mean of every arm with this number.

The `metric` may be one that no result has, see `normlab.config.claim_metrics`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from normlab.config.composition import check_config_dir
from normlab.config.stored_plan import study_files, whole_plan
from normlab.config.study_plan import check_grid, check_plan
from normlab.files import read_yaml
from normlab.spelling import did_you_mean
from normlab.study import plans
from normlab.study.confirmation import check_confirm_seeds
from normlab.study.plans import Settings


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Attributes:
        name: of the file.
        plan: the `study:` block.
        group: the folder of its runs below `outputs`.
        params: the grid, by key the values as on the command line.
        config_dir: the folder of the user's own that has the file; None for conf/.
        content: all keys of the file.
        trusted: packages of the user's own that its runs may call when claims score
            them again.
    """

    name: str
    plan: Settings
    group: str
    params: Settings
    config_dir: Path | None = None
    content: Settings = field(default_factory=dict)
    trusted: tuple[str, ...] = ()

    @property
    def whole_plan(self) -> Settings:
        """The plan as a run would store it, see `normlab.config.stored_plan`."""
        hydra = self.content.get("hydra", {})
        sweeper = hydra.get("sweeper", {}) | {"params": self.params}
        return whole_plan(self.content, self.plan, sweeper)

    def plan_of(self, claim: Settings) -> Settings:
        """The `study:` block with the keys of a claim in place of its own."""
        return self.plan | claim | {"trusted": self.trusted}

    @property
    def outputs(self) -> Path:
        """The folder in which the sweep `-m study=NAME` puts the runs."""
        return Path("outputs") / self.group

    @property
    def trial_outputs(self) -> Path:
        """The folder of the runs with `study.try=true`."""
        return Path("outputs") / f"{self.group}-try"

    @property
    def command(self) -> str:
        """The command that runs the study."""
        return plans.study_command(self.name, self.config_dir)


def read_study(name: str, config_dir: Path | None = None) -> Study:
    """The study in `conf/study/NAME.yaml`, or in a folder of the user's own.

    Args:
        name: of the file.
        config_dir: a folder with the layout of conf/, which is searched too.

    Raises:
        ValueError: if there is no such study, or its block is not complete.
    """
    file = _study_file(name, config_dir)
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold the settings of a study")
    plan = content.get("study") or {}
    is_own = config_dir is not None and file.is_relative_to(config_dir)
    shown = str(file) if is_own else f"conf/study/{name}.yaml"
    check_plan(shown, plan)
    sweeper = (content.get("hydra") or {}).get("sweeper") or {}
    params = sweeper.get("params")
    if not isinstance(params, dict) or "seed" not in params:
        raise ValueError(
            f"{shown} must have the grid of the study in hydra.sweeper.params, "
            f"with its seeds, as in seed: range(10)"
        )
    check_grid(shown, params)
    check_confirm_seeds(shown, plan, params)
    if "group" not in content:
        raise ValueError(
            f"{shown} must name the folder of its runs, as in group: {name}"
        )
    group = str(content["group"])
    own_dir = config_dir if is_own else None
    return Study(name, plan, group, params, own_dir, content)


def _study_file(name: str, config_dir: Path | None) -> Path:
    """The file of a study; conf/ itself comes first, as in training."""
    folders = []
    places = "conf/study"
    if config_dir is not None:
        check_config_dir(config_dir)
        folders.append(config_dir)
        places = f"conf/study or {config_dir / 'study'}"
    files = study_files(folders)
    if name in files:
        return files[name]
    known = sorted(files)
    listed = ", ".join(known) or "none"
    hint = did_you_mean(name, known) or f"; known are {listed}"
    remedy = "" if config_dir else "; a study of your own needs --config-dir FOLDER"
    raise ValueError(f"there is no study {name!r} in {places}{hint}{remedy}")
