"""TensorBoard's event files, each opened once.

TensorBoard's own writer opens its file again for every number (tensorboard 2.20), and
does so in a thread of its own. On a file system that many machines share, opening a
file costs more than writing to it. Here the file stays open, and a record is in it when
`flush` returns.
"""

import io
import os
import socket
import struct
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import FileWriter, SummaryWriter

from normlab.endings import LeaseLost
from normlab.locks import check_lease

_numbers = count()  # of the files of this process


class EventFile:
    """Writes events to a new file, with the methods of TensorBoard's `EventFileWriter`.

    Args:
        folder: an existing folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        seconds = f"{int(time.time()):010d}"
        name = f"{seconds}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = Path(folder) / f"events.out.tfevents.{name}"
        self._file = self.path.open("xb")
        self._waiting = io.BytesIO()
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        """The folder of the file."""
        return self.folder

    def add_event(self, event: Event) -> None:
        """Append an event, which waits in memory until `flush`."""
        RecordWriter(self._waiting).write(event.SerializeToString())

    def flush(self) -> None:
        """Write all events to the file.

        Raises:
            LeaseLost: another process has taken over the run.
        """
        try:
            check_lease(self.path)
        except LeaseLost:
            self._file.close()
            raise
        self._file.write(self._waiting.getbuffer())
        self._waiting = io.BytesIO()
        self._file.flush()

    def close(self) -> None:
        """Write all events and close the file."""
        self.flush()
        self._file.close()


class _FileWriter(FileWriter):
    def __init__(self, folder: str) -> None:
        self.event_writer = EventFile(folder)


class _SummaryWriter(SummaryWriter):
    file_writer: Any
    all_writers: Any

    def _get_file_writer(self) -> FileWriter:  # private, as of torch 2.15
        if self.file_writer is None:
            self.file_writer = _FileWriter(self.log_dir)
            self.all_writers = {self.log_dir: self.file_writer}
        writer: FileWriter = self.file_writer
        return writer


class EventLogger(TensorBoardLogger):
    """Lightning's logger, with a file that is opened once and no `hparams.yaml`.

    The settings of a run are in its `config.yaml`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """TensorBoard's writer."""
        if self._experiment is None:
            self._experiment = _SummaryWriter(self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None
    ) -> None:
        """Record numbers, which TensorBoard can show from then on."""
        if all(isinstance(value, int | float) for value in metrics.values()):
            record_numbers(self.experiment, metrics, step)
        else:  # tensors, and several numbers of one name
            super().log_metrics(metrics, step)
        self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write to the file what has been recorded."""
        if self._experiment is not None:
            self._experiment.flush()


def record_numbers(
    writer: SummaryWriter,
    numbers: Mapping[str, float],
    step: int | None = None,
) -> None:
    """Record numbers in one event. TensorBoard's writer would make one of each.

    Args:
        writer: of TensorBoard.
        numbers: by tag.
        step: their position.
    """
    values = []
    for tag, number in numbers.items():
        values.append(Summary.Value(tag=tag, simple_value=float(number)))
    summary = Summary(value=values)
    writer._get_file_writer().add_summary(summary, step)  # private, torch 2.15


def record_png(logger: TensorBoardLogger, tag: str, png: bytes) -> None:
    """Record a PNG file as it is. TensorBoard's writer would compress it once more."""
    width, height = struct.unpack(">II", png[16:24])  # of the chunk IHDR
    image = Summary.Image(
        encoded_image_string=png, width=width, height=height, colorspace=3
    )
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    logger.experiment._get_file_writer().add_summary(summary)  # private, torch 2.15
