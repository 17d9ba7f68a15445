"""Where a sweep was started, for its jobs in processes that inherit nothing of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from normlab.config.own_code import VARIABLE
from normlab.config.trust import OWN_NORMS_VARIABLE


@dataclass(frozen=True)
class Origin:
    """What a job must know of the process that has started the sweep.

    Attributes:
        folder: its working folder.
        config_dirs: its folders of configurations, as the environment variable
            `NORMLAB_CONFIG_DIRS` names them; empty if there are none.
        own_norms: the norms that the user has offered, see `normlab.norms.own.packed`.
    """

    folder: str
    config_dirs: str
    own_norms: Sequence[str | bytes]

    @classmethod
    def of_this_process(cls) -> "Origin":
        """The origin of the jobs that this process starts."""
        config_dirs = os.environ.get(VARIABLE, "")
        own_norms: list[str | bytes] = []
        if os.environ.get(OWN_NORMS_VARIABLE):
            from normlab.norms.own import packed

            own_norms = packed()
        return cls(os.getcwd(), config_dirs, own_norms)

    def enter(self) -> None:
        """Let this process find what the one that started the sweep finds."""
        os.chdir(self.folder)
        os.environ.pop(VARIABLE, None)
        if self.config_dirs:
            os.environ[VARIABLE] = self.config_dirs
        if self.own_norms:
            from normlab.norms.own import unpack

            unpack(self.own_norms)
