"""Train the runs of a stack, from their configurations to their results.

All runs go on, one after the other, to their next block of batches; its steps are made
for all at once; and so on until every run has ended. A run that ends early leaves the
stack, which is then put together without it.
"""

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from normlab import signals
from normlab.config.identity import run_folder
from normlab.endings import Interrupted
from normlab.messages import first_line, with_class
from normlab.sharing import sharing
from normlab.stacked.alike import NotStackable, check_alike
from normlab.stacked.compilation import CompiledForward, NotCompiled, compiled_forward
from normlab.stacked.grouping import AUTO, Options, evenly
from normlab.stacked.members import Member
from normlab.stacked.memory import room
from normlab.stacked.stack import Stack
from normlab.stacked.timing import measure
from normlab.stacked.trial import DrawsRandomNumbers, check_equal, score_alike
from normlab.streams import stream_seed
from normlab.terminal import output_may_end
from normlab.training.callbacks import StopOnSignal
from normlab.training.together import Request, spent
from normlab.training.trainer import quiet_lightning

LEAST_GAIN = 1.1  # of a stack over runs one after the other
DEFAULTS = Options()


@dataclass
class Ended:
    """What became of the runs of a stack.

    Attributes:
        results: of every configuration, in order: a result, the exception that its run
            raised, or None if it is to be trained by itself.
        notes: what is to be told of the stack, one sentence each.
    """

    results: list[Any]
    notes: list[str] = field(default_factory=list)


def train_stack(
    configs: Sequence[dict[str, Any]],
    run: Callable[[dict[str, Any]], dict[str, Any]],
    options: Options = DEFAULTS,
    sharers: int = 1,
) -> Ended:
    """Train runs as one network; each gets the result that it would have had alone.

    Args:
        configs: of the runs, see `normlab.stacked.grouping`.
        run: returns the result of a configuration.
        options: how the steps are made.
        sharers: number of processes that train stacks beside each other.

    Raises:
        Interrupted: a signal came; the states of all runs are in their folders.
    """
    with ExitStack() as around:
        around.enter_context(sharing())  # first: the runs get a copy of this context
        driver = Driver(configs, run, options, sharers)
        around.enter_context(driver.noting_signals())
        around.enter_context(quiet_lightning())
        around.enter_context(output_may_end())
        # Of an operation that vmap computes one network at a time; `measure` sees it.
        warnings.filterwarnings("ignore", message=".*performance drop because.*")
        try:
            driver.train()
        except NotStackable as reason:
            driver.notes.append(f"{reason}; they are trained one after the other")
        finally:
            driver.abandon()
    return driver.ended()


class Driver:
    """Gives the runs of a stack their turns, and makes their steps.

    Args:
        configs, run, options, sharers: see `train_stack`.

    Attributes:
        notes: what is to be told of the stack.
        received: number of the signal that was received, 0 if there was none.
        scores_together: whether the stack computes what its runs score.
    """

    def __init__(
        self,
        configs: Sequence[dict[str, Any]],
        run: Callable[[dict[str, Any]], dict[str, Any]],
        options: Options,
        sharers: int,
    ) -> None:
        self.options = options
        self.sharers = sharers
        self.randomness = "error"
        self.compiled: CompiledForward | None = None
        self.scores_together = False
        self.members = []
        for config in configs:
            member = Member(run, config, len(configs))
            self.members.append(member)
        self.notes: list[str] = []
        self.received = 0
        self._is_starting = False
        self._size = len(configs)
        self._fewest = 2  # runs that are worth a stack
        self._stacks: dict[tuple[int, ...], Stack] = {}

    @contextmanager
    def noting_signals(self) -> Iterator[None]:
        """Note a stop signal in the block, and hand it to the runs at their next step.

        Before the first step it ends the stack, and at once while runs are started: one
        may wait for its folder, in which another process trains. A second one ends the
        process, whose checkpoints are whole at every moment.
        """
        with signals.restored():
            signals.install(self._note)
            yield

    def _note(
        self,
        number: int,
        frame: object,
    ) -> None:
        if self.received and not signals.may_come_twice(number):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = number
        if self._is_starting:
            self._is_starting = False
            raise Interrupted(number)

    def train(self) -> None:
        """Train all runs to their ends.

        Raises:
            NotStackable: the runs cannot be stacked.
        """
        # In one order everywhere: two stacks never wait for each other's locks.
        self._is_starting = True
        for member in sorted(self.members, key=lambda each: run_folder(each.config)):
            member.go_on()
        self._is_starting = False
        waiting = self._waiting()
        if len(waiting) < 2:
            for member in waiting:
                self._finish_alone(member)
            return
        self._try(waiting)
        if self.received:
            raise Interrupted(self.received)
        while waiting:
            for part in evenly(waiting, self._size):
                self._train_block(part)
            waiting = self._waiting()

    def _waiting(self) -> list[Member]:
        return [member for member in self.members if member.request is not None]

    def _finish_alone(self, member: Member) -> None:
        """Let a run make its own steps, if all others had results before."""
        member.members = 1
        while member.request is not None:
            self._stop_if_asked(member)
            member.go_on()

    def _try(self, waiting: Sequence[Member]) -> None:
        """`_examine`, in which the network and the loss of the user may fail."""
        try:
            self._examine(waiting)
        except NotStackable:
            raise
        except Exception as error:  # of any module
            reason = f"the stack cannot be put together: {with_class(error)}"
            raise NotStackable(reason) from error

    def _examine(self, waiting: Sequence[Member]) -> None:
        """Find out whether the runs can be stacked, and how many of them at once."""
        requests = _requests(waiting)
        check_alike(requests)
        bytes_of_run = self._check_equal(waiting)
        device = requests[0].task.device
        fitting = room(bytes_of_run, device, self.sharers)
        if fitting is not None and fitting < len(waiting):
            self.notes.append(
                f"the memory has room for {fitting} of {len(waiting)} runs at once"
            )
            self._size = max(1, fitting)
        if self.options.members != AUTO:
            self._size = min(self._size, int(self.options.members))
        if self.options.compile and self._size > 1:
            self._compile(waiting)
        if self.options.members == AUTO and self._size > 1:
            times = measure(self._stack(waiting), requests, self._size)
            self._size = times.best
            if self.randomness == "error":  # else they would draw other numbers alone
                self._fewest = times.fewest
            if times.gain < LEAST_GAIN:
                raise NotStackable(
                    f"a step of a stack is only {times.gain:.2f} times as fast as "
                    f"those of its runs one after the other"
                )
        if self._size < 2:
            raise NotStackable("the memory does not suffice for two runs at once")
        self.scores_together = score_alike(self._stack(waiting), requests)
        for member in waiting:
            member.members = 1  # until it makes steps together with others

    def _check_equal(self, waiting: Sequence[Member]) -> float:
        """`check_equal`, once more with random numbers of the stack if these may be."""
        requests = _requests(waiting)
        try:
            return check_equal(self._stack(waiting), requests)
        except DrawsRandomNumbers as reason:
            if self.options.exact:
                raise
            self.notes.append(f"{reason}; exact=false allows it")
        self.randomness = "different"
        self._stacks.clear()
        for member in waiting:
            member.draws_together = True
        return check_equal(self._stack(waiting), requests)

    def _compile(self, waiting: Sequence[Member]) -> None:
        """Compile the steps, if they are the same then, and faster."""
        stack = self._stack(waiting)
        try:
            self.compiled = compiled_forward(stack, _requests(waiting), self._size)
        except NotCompiled as reason:
            self.notes.append(f"{reason}; the steps are not compiled")
            return
        self._stacks.clear()

    def _train_block(self, members: Sequence[Member]) -> None:
        """Make the steps of one block of each run."""
        if len(members) < self._fewest:
            for member in members:
                self._stop_if_asked(member)
                member.go_on()
            return
        try:
            requests = _requests(members)
            with self._stream_of(members), spent(len(members)) as steps:
                stack = self._stack(members)
                answers = stack.train(requests)
            predicted = stack.predict(requests) if self.scores_together else []
        except Exception as error:  # of any module or schedule
            reason = f"a step of the stack failed: {first_line(error)}"
            raise NotStackable(reason) from error
        for number, member in enumerate(members):
            answer = answers[number]
            if predicted:
                answer = answer._replace(predicted=predicted[number])
            member.members = max(member.members, len(members))
            member.is_compiled = self.compiled is not None
            self._stop_if_asked(member)
            member.share(steps)
            member.go_on(answer)

    def _stack(self, members: Sequence[Member]) -> Stack:
        """The stack of some runs, put together again if a run has left or joined it."""
        key = tuple(map(id, members))
        stack = self._stacks.get(key)
        if stack is None:
            self._forget(key)
            tasks = [request.task for request in _requests(members)]
            stack = Stack(tasks, self.randomness, self.compiled)
            self._stacks[key] = stack
        return stack

    def _forget(self, key: tuple[int, ...]) -> None:
        """Forget the stacks that a new stack takes runs of."""
        for ids in list(self._stacks):
            if not set(ids).isdisjoint(key):
                del self._stacks[ids]

    @contextmanager
    def _stream_of(self, members: Sequence[Member]) -> Iterator[None]:
        """Let random numbers of the stack follow from the position of its runs."""
        if self.randomness == "error":
            yield
            return
        request = _requests(members)[0]
        seed = members[0].config["seed"]
        position = request.task.progress.steps + request.done
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(seed, "dropout", position))
            yield

    def _stop_if_asked(self, member: Member) -> None:
        """Hand a signal to a run, which writes a checkpoint and ends."""
        if not self.received or member.request is None:
            return
        for callback in member.request.task.trainer.callbacks:
            if isinstance(callback, StopOnSignal):
                callback.received = self.received

    def abandon(self) -> None:
        """End the runs that have no result and are not to be trained here."""
        for member in self.members:
            member.abandon()

    def ended(self) -> Ended:
        """What became of the runs.

        Raises:
            Interrupted: a signal came, and not all runs had ended by then.
        """
        results: list[Any] = []
        num_unfinished = 0
        for member in self.members:
            outcome = member.outcome
            results.append(outcome)
            num_unfinished += not isinstance(outcome, dict)
        if self.received and num_unfinished:
            raise Interrupted(self.received)
        return Ended(results, self.notes)


def _requests(members: Sequence[Member]) -> list[Request]:
    requests = []
    for member in members:
        if member.request is not None:
            requests.append(member.request)
    return requests
