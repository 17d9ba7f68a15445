import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf

from normlab.sweeps.composer import Composer


def as_hydra_does(loader, master, overrides):
    config = loader.load_sweep_config(master, overrides)
    HydraConfig.instance().set_config(config)
    plain = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return OmegaConf.to_container(OmegaConf.create(plain), resolve=True)


def test_jobs_get_the_configuration_that_hydra_gives_them(start_sweep, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    mine = (
        "# @package _global_\ndefaults:\n  - override /optimizer: adam\n"
        "group: ${hydra:job.override_dirname}\n"
    )
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(mine)
    loader, master = start_sweep(f"hydra.searchpath=[file://{tmp_path / 'conf'}]")
    jobs = [
        ["norm=torch", "seed=1", "optimizer.lr=0.3"],
        ["seed=2", "norm=torch", "optimizer.lr=0.3"],
        ["optimizer.lr=0.3", "optimizer=adam", "optimizer.lr=0.2"],
        ["norm=ghost", "norm.size=4"],
        ["norm=group", "++norm.num_groups=2", "seed=3"],
        ["optimizer.lr=0.3", "++optimizer.lr=0.2"],
        ["++optimizer.lr=0.2", "optimizer.lr=0.3"],
        ["optimizer={lr:0.2}", "++optimizer.lr=0.3", "++norm.size=4", "norm=ghost"],
        ["scheduler=step", "~scheduler.gamma"],
        ["dataset={batch_size:7}", "seed=4"],
        ["logger=[csv,tensorboard]", "seed=5"],
        ["experiment=mine", "seed=6"],
        ["experiment=mine", "seed=7", "model.dropout=0.5"],
        ["experiment=mine", "seed=6"],
    ]
    compose = Composer(loader, master)
    for job in jobs:
        assert compose(job) == as_hydra_does(loader, master, job), job
    assert compose(jobs[11])["group"] == "experiment=mine,seed=6"
    assert len(compose.compositions) < len(jobs)


def test_a_job_that_is_refused_leaves_nothing_behind(compose_job):
    wanted = compose_job(["seed=3"])
    with pytest.raises(ValueError, match=r"optimizer\.lr must be"):
        compose_job(["seed=3", "optimizer.lr=-1"])
    with pytest.raises(HydraException, match=r"optimizer\.lrr"):
        compose_job(["optimizer.lr=0.5", "optimizer.lrr=1"])
    assert compose_job(["seed=3"]) == wanted


def test_the_name_of_an_option_may_hold_values_of_the_job(start_sweep, tmp_path):
    (tmp_path / "experiment").mkdir()
    name = "${hydra:runtime.choices.model}-${seed}"
    text = f"# @package _global_\nchoices: {{model: '{name}'}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    compose = Composer(*start_sweep(f"hydra.searchpath=[file://{tmp_path}]"))
    jobs = [["experiment=mine", "model=mlp", f"seed={seed}"] for seed in (0, 1)]
    names = [compose(job)["choices"]["model"] for job in jobs]
    assert names == ["mlp-0", "mlp-1"]


def test_what_a_file_asks_of_hydra_is_refused_in_every_job(start_sweep, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra: {output_subdir: files}\n"
    (tmp_path / "conf" / "experiment" / "bad.yaml").write_text(text)
    loader, master = start_sweep(f"hydra.searchpath=[file://{tmp_path / 'conf'}]")
    compose = Composer(loader, master)
    for seed in (0, 1):
        with pytest.raises(ValueError, match="output_subdir must be empty"):
            compose(["experiment=bad", f"seed={seed}"])


def test_one_job_does_not_change_the_next(compose_job):
    assert compose_job(["optimizer.lr=0.5", "seed=3"])["seed"] == 3
    assert compose_job(["optimizer.lr=0.5"])["seed"] == 0


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (["optimizer.lrr=1"], "Could not override 'optimizer.lrr'"),
        (["norm=torhc"], "Could not find 'norm/torhc'"),
    ],
)
def test_overrides_that_hydra_cannot_apply_are_refused(start_sweep, job, message):
    loader, master = start_sweep()
    with pytest.raises(HydraException, match=message):
        Composer(loader, master)(job)


def test_a_variable_for_hydra_that_is_not_set_is_a_mistake(start_sweep, tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra: {job: {env_copy: [NORMLAB_IS_NOT_SET]}}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    compose = Composer(*start_sweep(f"hydra.searchpath=[file://{tmp_path}]"))
    with pytest.raises(ValueError, match="a file names 'NORMLAB_IS_NOT_SET' there"):
        compose(["experiment=mine"])


def test_values_that_no_run_can_have_are_refused(start_sweep):
    loader, master = start_sweep()
    with pytest.raises(
        ValueError, match="optimizer.lr must be a number above 0, got -1"
    ):
        Composer(loader, master)(["optimizer.lr=-1"])


def test_only_the_command_line_can_trust_packages(start_sweep):
    trust = ["trusted_packages=[mine]"]
    with pytest.raises(ValueError, match="must be given on the command line"):
        Composer(*start_sweep())(trust)
    config = Composer(*start_sweep(*trust))(trust)
    assert config["trusted_packages"] == ["mine"]


@pytest.mark.parametrize("end", ["${hydra:runtime.choices.norm}", "${now:%S-%f}"])
def test_the_server_of_a_job_is_typed_with_interpolations(start_sweep, end):
    key = "logger.mlflow.tracking_uri"
    word = f"{key}='file:runs/{end}'"
    job = ["norm=group", "logger=mlflow", word]
    config = Composer(*start_sweep("norm=group,none", *job[1:]))(job)
    server = config["logger"]["mlflow"]["tracking_uri"]
    assert server.startswith("file:runs/")
    assert server.endswith("/group") or "now" in end
    with pytest.raises(ValueError, match=f"{key} must be file:runs"):
        Composer(*start_sweep("norm=group,none", *job[1:]))([*job[:2], f"{key}=http:a"])


def test_the_configuration_of_hydra_is_as_it_was_before(start_sweep):
    loader, master = start_sweep()
    before = HydraConfig.instance().cfg
    Composer(loader, master)(["norm=torch"])
    assert HydraConfig.instance().cfg is before
