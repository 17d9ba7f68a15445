import csv
import json
import os
import signal
import threading
from contextlib import suppress

import pytest
import torch

from normlab.config.identity import run_folder
from normlab.data import blocks
from normlab.endings import Interrupted
from normlab.stacked import driver
from normlab.stacked.compilation import NotCompiled
from normlab.stacked.driver import train_stack
from normlab.stacked.grouping import Options
from normlab.stacked.members import Member
from normlab.stacked.stack import Stack
from normlab.stacked.timing import Times
from normlab.training import preparation
from normlab.training.classification import Classification
from normlab.training.experiment import run, run_with_output
from stacked.runs import SMALL, compile_eagerly, plain

FAST = (
    *("dataset=digits", "trainer.max_epochs=2", "trainer.max_samples=60"),
    *("optimizer.lr=0.01", "statistics.histograms=false"),
)


@pytest.fixture
def configs(compose, tmp_path):
    """configs(FOLDER, *words): two runs with outputs in a folder of this test."""

    def build(folder, *words, seeds=2):
        own = [word for word in SMALL if not word.startswith("trainer.")]
        outputs = f"paths.outputs={tmp_path / folder}"
        config = plain(compose(*own, *FAST, outputs, *words))
        return [config | {"seed": seed} for seed in range(seeds)]

    return build


CLOSE = {"rtol": 1e-4, "atol": 1e-5}
# With a smaller eps Adam makes steps of full length along gradients that are rounding.
ADAM = ("optimizer=adam", "optimizer.eps=0.01", "model.bias=false")
DROPOUT = ("model.dropout=0.3", "model.hidden=[8,6]", "optimizer.momentum=0")


def stacked(configs, members=8, **options):
    return train_stack(configs, run_with_output, Options(members, **options))


def checkpoint(config, name="last"):
    path = run_folder(config) / "checkpoints" / f"{name}.ckpt"
    return torch.load(path, weights_only=True)


def assert_same_runs(found, wanted):
    """Compare what two runs have stored, up to rounding."""
    for name in ("last", "best"):
        one, two = checkpoint(found, name), checkpoint(wanted, name)
        torch.testing.assert_close(one["network"], two["network"], **CLOSE)
        assert one["epoch" if name == "best" else "progress"]
    one, two = checkpoint(found), checkpoint(wanted)
    assert one["progress"]["steps"] == two["progress"]["steps"]
    assert one["best"]["epoch"] == two["best"]["epoch"]
    assert torch.equal(one["random"]["cpu"], two["random"]["cpu"])
    folders = [run_folder(config) for config in (found, wanted)]
    names = [sorted(path.name for path in each.rglob("*")) for each in folders]
    assert names[0] == names[1]


def assert_same_results(found, wanted):
    assert found["status"] == wanted["status"]
    assert found["metrics"] == pytest.approx(wanted["metrics"], rel=1e-4, nan_ok=True)
    for key in ("epochs", "best_epoch", "steps", "ended_by", "config_digest", "run"):
        assert found[key] == wanted[key]


def test_runs_store_what_they_store_alone(configs):
    ended = stacked(configs("stacked"))
    assert ended.notes == []
    for found, wanted in zip(configs("stacked"), configs("alone"), strict=True):
        result = run(wanted)
        assert_same_runs(found, wanted)
        stored = json.loads((run_folder(found) / "result.json").read_text())
        assert stored["stacked"] == 2
        assert "stacked" not in result
        assert_same_results(stored, result)
        rows = [
            (run_folder(config) / "metrics.csv").read_text().splitlines()
            for config in (found, wanted)
        ]
        assert len(rows[0]) == len(rows[1]) == 3
        assert (run_folder(found) / "statistics.csv").is_file()


def test_a_stack_scores_the_test_part_after_every_epoch_too(configs):
    words = ("stacked", "trainer.test_every_epoch=true")
    ended = stacked(configs(*words))
    for config, result in zip(configs(*words), ended.results, strict=True):
        with open(run_folder(config) / "metrics.csv", newline="") as file:
            best = list(csv.DictReader(file))[result["best_epoch"] - 1]
        assert float(best["test/loss"]) == result["metrics"]["test/loss"]


def test_every_run_of_a_stack_stops_at_its_own_epoch(configs):
    def write(folder, *words):
        made = configs(folder, "trainer.max_epochs=4", "optimizer.lr=0.02", *words)
        stacked(made)
        curves = []
        for config in made:
            with open(run_folder(config) / "metrics.csv", newline="") as file:
                losses = [float(row["val/loss"]) for row in csv.DictReader(file)]
            curves.append(losses)
        return curves

    whole = write("whole")
    target = max(curve[1] for curve in whole)
    assert any(curve[0] > target for curve in whole)
    stopped = write("stopped", f"trainer.stop_at='val/loss={target}'")
    for all_losses, losses in zip(whole, stopped, strict=True):
        first = next(i for i, loss in enumerate(all_losses) if loss <= target)
        assert losses == all_losses[: first + 1]


def test_second_scores_of_a_stack_leave_no_trace_in_its_runs(configs):
    def rows(folder, *words):
        stacked(configs(folder, *words))
        for config in configs(folder, *words):
            with open(run_folder(config) / "metrics.csv", newline="") as file:
                for row in csv.DictReader(file):
                    del row["seconds"]
                    yield row

    plain = list(rows("plain"))
    scored = list(rows("scored", "trainer.recalibration_batches=2"))
    assert len(plain) == len(scored) == 4
    for one, two in zip(plain, scored, strict=True):
        assert two.pop("val_recalibrated/loss") != two["val/loss"]
        assert 0 <= float(two.pop("val_recalibrated/accuracy")) <= 1
        assert one == two


def test_dropout_zeroes_what_it_zeroes_alone(configs):
    ended = stacked(configs("stacked", *DROPOUT))
    assert ended.notes == []
    for found, wanted in zip(
        configs("stacked", *DROPOUT), configs("alone", *DROPOUT), strict=True
    ):
        run(wanted)
        assert_same_runs(found, wanted)
    assert ["dropout_stream" in result for result in ended.results] == [False] * 2


def test_random_numbers_of_the_stack_are_told_and_repeated(configs):
    def train(folder):
        words = ("norm=noisy_batch", "trainer.max_epochs=1")
        return stacked(configs(folder, *words), exact=False)

    first, again = train("first"), train("again")
    (note,) = first.notes
    assert note.startswith("hidden.0.norm (NoisyBatchNorm) draws random numbers")
    assert note.endswith("exact=false allows it")
    for one, two in zip(first.results, again.results, strict=True):
        assert one["dropout_stream"] == "of the stack"
        assert one["stacked"] == 2
        assert one["metrics"] == two["metrics"]


def test_runs_end_at_epochs_and_steps_of_their_own(configs):
    def of_both(folder):
        first, second, third = configs(folder, "trainer.max_epochs=4", seeds=3)
        first["trainer"] = first["trainer"] | {"max_epochs": 1}
        second["trainer"] = second["trainer"] | {"max_steps": 11}
        third["trainer"] = third["trainer"] | {"patience": 1}
        third["optimizer"] = third["optimizer"] | {"lr": 1e-9}
        return [first, second, third]

    ended = stacked(of_both("stacked"))
    results = [run(config) for config in of_both("alone")]
    for found, wanted in zip(ended.results, results, strict=True):
        assert_same_results(found, wanted)
    assert [result["ended_by"] for result in results] == [
        "max_epochs",
        "max_steps",
        "patience",
    ]
    for found, wanted in zip(of_both("stacked"), of_both("alone"), strict=True):
        assert_same_runs(found, wanted)


def test_a_run_that_diverges_ends_by_itself(configs):
    def of_both(folder):
        first, second, third = configs(folder, "norm=none", seeds=3)
        second["optimizer"] = second["optimizer"] | {"lr": 1e30}
        return [first, second, third]

    ended = stacked(of_both("stacked"))
    results = [run(config) for config in of_both("alone")]
    assert [result["status"] for result in ended.results] == [
        "finished",
        "diverged",
        "finished",
    ]
    for found, wanted in zip(ended.results, results, strict=True):
        assert found["status"] == wanted["status"]
        assert found.get("diverged_at_step") == wanted.get("diverged_at_step")
        if found["status"] == "finished":
            assert found["metrics"] == pytest.approx(wanted["metrics"], rel=1e-4)


def test_stored_results_are_returned_and_the_others_stacked(configs):
    first, *others = configs("stacked", seeds=3)
    stored = run(first)
    ended = stacked([first, *others])
    assert ended.results[0]["metrics"] == stored["metrics"]
    assert [result.get("stacked") for result in ended.results] == [None, 2, 2]


def test_a_single_run_that_is_left_makes_its_own_steps(configs):
    first, second = configs("stacked")
    run(first)
    ended = stacked([first, second])
    (_, alone) = configs("alone")
    assert_same_results(ended.results[1], run(alone))
    assert ended.results[1]["stacked"] == 1


class Killed(BaseException):
    pass


def killed_after_one_epoch(monkeypatch, config):
    """Train until the first checkpoint is on disk, and end as SIGKILL would."""
    from normlab.training.checkpoints import Checkpoints

    write = Checkpoints.write

    def write_and_die(self, *arguments, **options):
        write(self, *arguments, **options)
        raise Killed

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(Checkpoints, "write", write_and_die)
        run(config)


def test_a_stack_resumes_runs_that_were_begun_alone(configs, monkeypatch):
    words = ("checkpoint.every_seconds=0", "model.dropout=0.2", *ADAM)
    killed_after_one_epoch(monkeypatch, configs("stacked", *words)[0])
    assert checkpoint(configs("stacked", *words)[0])["progress"]["epoch"] == 1
    ended = stacked(configs("stacked", *words))
    for found, wanted in zip(
        configs("stacked", *words), configs("alone", *words), strict=True
    ):
        run(wanted)
        assert_same_runs(found, wanted)
    assert [result["stacked"] for result in ended.results] == [2, 2]


def stop_stack_after_one_epoch(monkeypatch, configs):
    """Send SIGTERM to the stack when its runs have ended their first epoch."""
    go_on = Member.go_on

    def go_on_and_signal(self, answer=None):
        go_on(self, answer)
        if self.request is not None and self.request.task.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Member, "go_on", go_on_and_signal)
        patch.setattr(driver.signals, "may_come_twice", lambda number: True)
        with pytest.raises(Interrupted) as stopped:
            stacked(configs)
    assert stopped.value.exit_code == 128 + signal.SIGTERM


def test_runs_that_a_signal_stopped_go_on_alone_or_in_a_stack(configs, monkeypatch):
    words = ("trainer.max_epochs=3", *ADAM)
    folders = ("stacked", "later")
    for folder in folders:
        stop_stack_after_one_epoch(monkeypatch, configs(folder, *words))
        for config in configs(folder, *words):
            assert 0 < checkpoint(config)["progress"]["epoch"] < 3
            assert not (run_folder(config) / "result.json").exists()
    stacked(configs("stacked", *words))
    for config in configs("later", *words):
        run(config)
    for number, wanted in enumerate(configs("alone", *words)):
        run(wanted)
        for folder in folders:
            found = configs(folder, *words)[number]
            torch.testing.assert_close(
                checkpoint(found, "best")["network"],
                checkpoint(wanted, "best")["network"],
                **CLOSE,
            )


def test_runs_that_cannot_be_stacked_are_left_to_be_trained_alone(configs):
    ended = stacked(configs("stacked", "norm=noisy_batch"))
    assert ended.results == [None, None]
    (note,) = ended.notes
    assert note.startswith("hidden.0.norm (NoisyBatchNorm) draws random numbers")
    assert note.endswith("they are trained one after the other")
    for config in configs("stacked", "norm=noisy_batch"):
        assert not (run_folder(config) / "result.json").exists()


def test_what_fails_before_the_first_step_leaves_the_runs_to_be_trained_alone(
    configs, monkeypatch
):
    def measure(stack, requests, most):
        raise RuntimeError("no copies\nof this network")

    monkeypatch.setattr(driver, "measure", measure)
    ended = stacked(configs("stacked"), "auto")
    assert ended.results == [None, None]
    assert ended.notes == [
        "the stack cannot be put together: RuntimeError: no copies; they are trained "
        "one after the other"
    ]


def test_a_signal_ends_a_stack_that_waits_for_a_folder(configs):
    freed = threading.Event()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))

    def run(config):  # as one whose folder another process has locked
        timer.start()
        freed.wait(30)
        return {}

    with pytest.raises(Interrupted):
        train_stack(configs("stacked"), run, Options(8))
    assert timer.finished.is_set()
    freed.set()


def test_a_signal_before_the_first_step_ends_a_stack(configs, monkeypatch):
    def measure(stack, requests, most):
        signal.raise_signal(signal.SIGTERM)
        return Times(alone=2.0, stacked={2: 1.0})

    monkeypatch.setattr(driver, "measure", measure)
    monkeypatch.setattr(Stack, "train", pytest.fail)
    with pytest.raises(Interrupted):
        stacked(configs("stacked"), "auto")


@pytest.mark.parametrize(("gain", "are_stacked"), [(1.05, False), (1.5, True)])
def test_a_stack_that_gains_too_little_is_not_trained(
    configs, monkeypatch, gain, are_stacked
):
    def measure(stack, requests, most):
        return Times(alone=gain, stacked={2: 1.0})

    monkeypatch.setattr(driver, "measure", measure)
    ended = stacked(configs("stacked", "trainer.max_epochs=1"), "auto")
    assert [result is not None for result in ended.results] == [are_stacked] * 2
    if not are_stacked:
        assert "only 1.05 times as fast" in ended.notes[0]


def test_few_runs_make_their_own_steps_if_a_stack_of_them_is_slower(
    configs, monkeypatch
):
    sizes = []
    train = Stack.train

    def counted(stack, requests):
        sizes.append(len(requests))
        return train(stack, requests)

    times = Times(alone=1.0, stacked={4: 0.5, 2: 1.5})
    monkeypatch.setattr(driver, "measure", lambda *arguments: times)
    monkeypatch.setattr(Stack, "train", counted)

    def build(folder):
        made = configs(folder, "trainer.max_epochs=2", seeds=4)
        for number, config in enumerate(made):
            epochs = 2 if number < 2 else 1
            config["trainer"] = config["trainer"] | {"max_epochs": epochs}
        return made

    ended = stacked(build("stacked"), "auto")
    assert ended.notes == []
    assert set(sizes) == {4}
    for found, wanted in zip(ended.results, build("alone"), strict=True):
        assert found["stacked"] == 4
        assert_same_results(found, run(wanted))


def test_runs_that_share_random_numbers_stay_together(configs, monkeypatch):
    def train(folder, fewest):
        times = Times(alone=1.0, stacked={4: 0.5, fewest: 0.6})
        monkeypatch.setattr(driver, "measure", lambda *arguments: times)
        made = configs(folder, "norm=noisy_batch", seeds=4)
        for config in made[:2]:
            config["trainer"] = config["trainer"] | {"max_epochs": 1}
        return stacked(made, "auto", exact=False)

    for one, two in zip(train("two", 2).results, train("four", 4).results, strict=True):
        assert one["metrics"] == two["metrics"]


def test_steps_are_compiled_only_if_that_is_possible_and_said(configs, monkeypatch):
    def refuse(stack, requests, most):
        assert most == 2
        raise NotCompiled("a compiled step is only 0.90 times as fast")

    monkeypatch.setattr(driver, "compiled_forward", refuse)
    ended = stacked(configs("stacked", "trainer.max_epochs=1"), compile=True)
    assert ended.notes == [
        "a compiled step is only 0.90 times as fast; the steps are not compiled"
    ]
    assert ["compiled_stack" in result for result in ended.results] == [False] * 2


def test_runs_with_compiled_steps_are_the_runs_alone(configs, monkeypatch):
    compile_eagerly(monkeypatch)
    ended = stacked(configs("stacked"), compile=True)
    assert ended.notes == []
    for found, wanted in zip(configs("stacked"), configs("alone"), strict=True):
        result = run(wanted)
        assert_same_runs(found, wanted)
        stored = json.loads((run_folder(found) / "result.json").read_text())
        assert stored["compiled_stack"] is True
        assert stored["compile_seconds"] is None
        assert stored["step_milliseconds"] > 0
        assert_same_results(stored, result)


def test_the_memory_limits_how_many_runs_train_at_once(configs, monkeypatch):
    monkeypatch.setattr(driver, "room", lambda *arguments: 2)
    words = ("trainer.max_epochs=1",)
    ended = stacked(configs("stacked", *words, seeds=4))
    assert ended.notes == ["the memory has room for 2 of 4 runs at once"]
    assert [result["stacked"] for result in ended.results] == [2] * 4
    wanted = run(configs("alone", *words, seeds=4)[3])
    assert_same_results(ended.results[3], wanted)


def test_without_memory_for_two_runs_none_is_stacked(configs, monkeypatch):
    monkeypatch.setattr(driver, "room", lambda *arguments: 0)
    ended = stacked(configs("stacked"))
    assert ended.results == [None, None]
    assert "does not suffice" in ended.notes[-1]


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of four steps in a run by itself, and of two in a stack of two."""
    bytes_of_step = 8 * 64 * 4  # samples, pixels, bytes of a pixel
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * bytes_of_step)


def test_a_run_that_was_stopped_in_a_longer_block_goes_on_in_a_stack(
    configs, short_blocks, monkeypatch
):
    calls = []
    loss = Classification.loss

    def loss_and_signal(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *arguments)

    for config in configs("stacked", *ADAM):  # both have made all of a shorter block
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Classification, "loss", loss_and_signal)
            with pytest.raises(Interrupted):
                run(config)
        assert len(checkpoint(config)["unfinished_block"]["losses"]) == 3
    ended = stacked(configs("stacked", *ADAM))
    assert ended.notes == []
    assert [result["stacked"] for result in ended.results] == [2, 2]
    for found, wanted in zip(
        configs("stacked", *ADAM), configs("alone", *ADAM), strict=True
    ):
        run(wanted)
        torch.testing.assert_close(
            checkpoint(found)["network"], checkpoint(wanted)["network"], **CLOSE
        )


def test_statistics_are_those_of_the_samples_of_a_run_by_itself(configs, short_blocks):
    words = ("statistics.every_n_epochs=1", *ADAM)
    stacked(configs("stacked", *words))
    for found, wanted in zip(
        configs("stacked", *words), configs("alone", *words), strict=True
    ):
        run(wanted)
        tables = []
        for config in (found, wanted):
            with open(run_folder(config) / "statistics.csv", newline="") as file:
                tables.append(list(csv.DictReader(file)))
        assert tables[0]
        for one, two in zip(*tables, strict=True):
            values = float(one.pop("value")), float(two.pop("value"))
            assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-5)
            assert one == two


def test_a_schedule_that_fails_fails_its_own_run_only(configs):
    words = ("scheduler=one_cycle", "trainer.max_epochs=3")
    good, bad = configs("stacked", *words)
    bad["scheduler"] = bad["scheduler"] | {"epochs": 1}
    ended = stacked([good, bad])
    assert ended.results == [None, None]  # to be trained by themselves
    (note,) = ended.notes
    assert note.startswith("a step of the stack failed: Tried to step")
    assert run(good)["status"] == "finished"


def test_the_error_of_one_run_is_its_own(configs):
    good, bad, other = configs("stacked", "trainer.max_epochs=1", seeds=3)
    bad["trainer"] = bad["trainer"] | {"monitor": "val/nonsense"}
    ended = stacked([good, bad, other])
    assert isinstance(ended.results[1], ValueError)
    assert ended.results[0]["status"] == ended.results[2]["status"] == "finished"


def rows_of_metrics(config):
    with open(run_folder(config) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            name: float(value)
            for name, value in row.items()
            if not name.startswith("seconds")
        }
        for row in rows
    ]


def test_the_scores_of_all_epochs_are_those_of_each_run(configs, monkeypatch):
    def of_both(folder):
        words = ("trainer.max_epochs=3", "trainer.test_every_epoch=true")
        first, second, third = configs(folder, *words, seeds=3)
        second["dataset"] = second["dataset"] | {"validation": 0.03}
        third["trainer"] = third["trainer"] | {"max_steps": 11}
        return [first, second, third]

    predicted = []
    predict = Stack.predict

    def predict_and_count(self, requests):
        found = predict(self, requests)
        predicted.append([sorted(each) for each in found])
        return found

    monkeypatch.setattr(Stack, "predict", predict_and_count)
    ended = stacked(of_both("stacked"))
    results = [run(config) for config in of_both("alone")]
    for found, wanted in zip(of_both("stacked"), of_both("alone"), strict=True):
        pairs = zip(rows_of_metrics(found), rows_of_metrics(wanted), strict=True)
        for one, two in pairs:
            assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    for found, wanted in zip(ended.results, results, strict=True):
        assert_same_results(found, wanted)
    assert [["test", "val"]] * 3 in predicted


class DrawsInEvaluation(torch.nn.Module):
    """A layer that is the same as alone in training, and not in evaluation."""

    def forward(self, inputs):
        return inputs if self.training else inputs + torch.rand_like(inputs)


def test_networks_that_vmap_cannot_take_in_evaluation_are_scored_singly(
    configs, monkeypatch
):
    build = preparation.build_network

    def with_layer(*arguments, **options):
        network, norm_layers = build(*arguments, **options)
        network.output = torch.nn.Sequential(network.output, DrawsInEvaluation())
        return network, norm_layers

    monkeypatch.setattr(preparation, "build_network", with_layer)
    ended = stacked(configs("stacked"))
    assert ended.notes == []
    for found, wanted in zip(configs("stacked"), configs("alone"), strict=True):
        run(wanted)
        pairs = zip(rows_of_metrics(found), rows_of_metrics(wanted), strict=True)
        for one, two in pairs:
            assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
