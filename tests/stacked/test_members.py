from pathlib import Path

import pytest
import torch

from normlab.endings import LeaseLost
from normlab.stacked.members import Abandoned, Member
from normlab.training.together import STACK, Answer, Request, Spent

REQUEST = Request(None, None, 0)


def test_a_run_waits_for_the_answer_to_each_request():
    got = []

    def run(config):
        for request in config["requests"]:
            got.append(STACK.get().train(request))
        return {"status": "finished"}

    asked = [REQUEST, REQUEST._replace(done=3)]
    member = Member(run, {"requests": asked}, 2)
    member.go_on()
    assert member.request.done == 0
    answer = Answer(torch.ones(2), torch.zeros(4, 1))
    member.go_on(answer)
    assert member.request.done == 3
    assert not member.has_ended
    member.go_on()
    assert member.request is None
    assert got == [answer, None]
    assert member.result == {"status": "finished"}


def test_the_exception_of_a_run_is_kept():
    def run(config):
        raise ValueError("no data")

    member = Member(run, {}, 2)
    member.go_on()
    assert member.has_ended
    assert str(member.error) == "no data"


def test_an_abandoned_run_has_no_result():
    def run(config):
        try:
            STACK.get().train(REQUEST)
        except Exception:
            return {"status": "failed"}

    member = Member(run, {}, 2)
    member.go_on()
    member.abandon()
    assert isinstance(member.error, Abandoned)
    assert member.result is None


def test_a_run_that_another_process_has_taken_over_is_left_to_be_waited_for():
    def run(config):
        raise LeaseLost(Path("run"))

    member = Member(run, {}, 2)
    member.go_on()
    assert member.has_ended
    assert member.outcome is None


def test_a_run_that_has_not_begun_is_not_begun_to_be_abandoned():
    member = Member(pytest.fail, {}, 2)
    member.abandon()
    assert not member.has_ended


def test_each_run_has_its_random_numbers_and_default_type():
    drawn = {}

    def run(config):
        torch.manual_seed(config["seed"])
        torch.set_default_dtype(torch.float64)
        STACK.get().train(REQUEST)
        drawn[config["seed"]] = torch.rand(3)
        return {}

    before = torch.get_rng_state()
    members = [Member(run, {"seed": seed}, 2) for seed in (1, 2)]
    for member in members:
        member.go_on()
    assert torch.get_default_dtype() is torch.float32
    for member in members:
        member.go_on()
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        for seed, values in drawn.items():
            torch.manual_seed(seed)
            wanted = torch.rand(3, dtype=torch.float64)
            assert torch.equal(values, wanted)


def test_a_run_draws_on_from_where_the_stack_has_drawn():
    drawn = []

    def run(config):
        torch.manual_seed(config["seed"])
        STACK.get().train(REQUEST)
        drawn.append(torch.rand(2))
        return {}

    member = Member(run, {"seed": 3}, 2)
    member.go_on()
    generator = torch.Generator()
    generator.set_state(member.request.random_state)
    torch.rand(5, generator=generator)
    state = generator.get_state()
    member.go_on(Answer(torch.ones(1), torch.ones(1, 1), state))
    assert torch.equal(drawn[0], torch.rand(2, generator=generator))


def test_time_in_which_a_run_waits_is_not_its_own(monkeypatch):
    def run(config):
        STACK.get().train(REQUEST)
        return {}

    member = Member(run, {}, 2)
    member.go_on()
    member.share(Spent(100.0, 200.0))
    member.go_on()
    assert -100.0 < member.apart.seconds < -1.0
    assert -200.0 <= member.apart.processor_seconds < -1.0
