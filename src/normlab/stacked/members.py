"""Runs in threads of their own, of which one goes on at a time.

A run goes through the same code as one by itself, up to a block of batches. There it
waits until the steps of all are made. Nothing happens side by side: a thread goes on
when it is given the turn, and gives it back when it waits or has ended.
"""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import torch

from normlab.endings import LeaseLost
from normlab.training.together import STACK, Answer, Request, Spent, spent


class Abandoned(BaseException):
    """Ends a run that is not to be trained here; nothing of it counts as a result."""


class Member:
    """One run of a stack, and the run's side of `normlab.training.together.Stack`.

    Args:
        run: returns the result of a configuration, in the thread of the member.
        config: the configuration.
        members: number of runs in the stack.

    Attributes:
        request: the block that the run waits for; None before the first and at the end.
        result: what `run` returned.
        error: the exception that it raised.
        apart: the time in which the run waited.
        draws_together: whether random numbers of the steps are drawn for the whole
            stack, and not from the stream of the run.
        is_compiled: whether compiled steps of the stack were made.
        is_abandoned: whether the run was ended to be trained by itself.
    """

    def __init__(
        self,
        run: Callable[[dict], dict],
        config: dict[str, Any],
        members: int,
    ) -> None:
        self.config = config
        self.members = members
        self.request: Request | None = None
        self.result: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.apart = Spent()
        self.draws_together = False
        self.is_compiled = False
        self._run = run
        self._answer: Answer | None = None
        self.is_abandoned = False
        self._turn = _taken_lock()
        self._back = _taken_lock()
        self._state = _process_state()
        # A thread that still waits must not keep the process from ending.
        run_in = copy_context().run
        self._thread = threading.Thread(target=run_in, args=(self._work,), daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether the run has a result or an error."""
        return self.result is not None or self.error is not None

    @property
    def outcome(self) -> dict[str, Any] | BaseException | None:
        """The result or the error of the run; None if it is left to be trained.

        Whoever took the run over may wait for another one of the stack: the result is
        waited for when the stack has ended.
        """
        if self.is_abandoned or isinstance(self.error, LeaseLost):
            return None
        return self.result or self.error

    def go_on(self, answer: Answer | None = None) -> None:
        """Let the run go on until it waits for a block, or ends.

        Args:
            answer: to its request; None lets it make its steps itself.
        """
        self._answer = answer
        self.request = None
        outside = _process_state()
        _set_process_state(self._state)
        try:
            if not self._thread.ident:
                self._thread.start()
            else:
                self._turn.release()
            self._back.acquire()
        finally:  # a signal may end the stack here
            self._state = _process_state()
            _set_process_state(outside)
        if self.has_ended:
            self._thread.join()

    def abandon(self) -> None:
        """End a run that waits; it leaves what it has written, and no result."""
        if self.request is not None:
            self.is_abandoned = True
            self.go_on()

    def train(self, request: Request) -> Answer | None:
        """Wait until the steps of a block are made; called in the thread of the run."""
        self.request = request._replace(random_state=torch.get_rng_state())
        with spent() as waiting:
            self._back.release()
            self._turn.acquire()
        self.apart.add(waiting)
        if self.is_abandoned:
            raise Abandoned
        answer = self._answer
        if answer is not None and answer.random_state is not None:
            torch.set_rng_state(answer.random_state)
        return answer

    def share(self, share: Spent) -> None:
        """Count time that passed while the run waited as its own."""
        self.apart.add(share, times=-1)

    def _work(self) -> None:
        STACK.set(self)
        try:
            self.result = self._run(self.config)
        except BaseException as error:  # whoever gave the turn decides what it means
            self.error = error
        finally:
            self._back.release()


def _taken_lock() -> threading.Lock:
    """A lock that whoever acquires it waits for until another thread releases it."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def _process_state() -> tuple[torch.Tensor, torch.dtype]:
    """What runs in one process change for all: random numbers, and the default type."""
    return torch.get_rng_state(), torch.get_default_dtype()


def _set_process_state(state: tuple[torch.Tensor, torch.dtype]) -> None:
    generator, dtype = state
    torch.set_rng_state(generator)
    torch.set_default_dtype(dtype)
