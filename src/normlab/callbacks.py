"""Callbacks of Lightning that a run may have besides those of normlab itself.

`callbacks=[gradient_norm,learning_rate_monitor]` selects them by the files of
`conf/callbacks`. This module holds those that Lightning has not.
"""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.distributed.tensor import DTensor


class GradientNorm(Callback):
    """Records the norm of the gradient of every so many steps in the loggers.

    ``(sum |g|^p)^(1/p)`` over the gradients of all parameters, as they are before they
    are clipped. Its name in the loggers is `gradient_norm`, and for single parameters
    `gradient_norm/` with the name of the parameter in the network.

    Args:
        every_n_steps: number of optimizer steps from one record to the next.
        norm_type: p.
        by_parameter: also record the norm of every single parameter.
    """

    def __init__(
        self,
        every_n_steps: int = 1,
        norm_type: float = 2.0,
        by_parameter: bool = False,
    ) -> None:
        self.every_n_steps = every_n_steps
        self.norm_type = norm_type
        self.by_parameter = by_parameter

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: Any, optimizer: Any
    ) -> None:
        """Record the norms, if it is the turn of this step."""
        if trainer.global_step % self.every_n_steps:
            return
        gradients = {}
        for name, parameter in pl_module.network.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad
        norms = {"gradient_norm": self._norm(list(gradients.values()))}
        if self.by_parameter:
            for name, gradient in gradients.items():
                norms[f"gradient_norm/{name}"] = self._norm([gradient])
        for logger in trainer.loggers:
            logger.log_metrics(norms, step=trainer.global_step)

    def _norm(self, gradients: list[torch.Tensor]) -> float:
        norm = torch.nn.utils.get_total_norm(gradients, self.norm_type)
        if isinstance(norm, DTensor):  # of a network that is divided among processes
            norm = norm.full_tensor()
        return float(norm)
