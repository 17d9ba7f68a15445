"""Stop a run as a kill would."""

import signal

from normlab.endings import Interrupted
from normlab.training.checkpoints import Checkpoints


def kill_after(monkeypatch, blocks):
    """Stop the run after a number of blocks, without a checkpoint, like a kill."""
    seen, original = [], Checkpoints.on_train_batch_end

    def count(self, *arguments):
        original(self, *arguments)
        seen.append(1)
        if len(seen) == blocks:
            raise Interrupted(signal.SIGKILL)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", count)
