"""A function that builds the layer, and statistics in one buffer."""

import torch
from torch import nn


def batch_norm(num_features, dim, momentum=0.1):
    return Layer(num_features, dim, momentum)


class Layer(nn.Module):
    def __init__(self, num_features, dim, momentum):
        super().__init__()
        self.dim = dim
        self.momentum = momentum
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)))
        self.register_parameter("weight", nn.Parameter(torch.ones(num_features)))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def extra_repr(self):
        return f"dim={self.dim}"

    def reshape(self, values):
        return values.reshape(1, -1, *(1,) * self.dim)

    def forward(self, input):
        x = input.unsqueeze(-1) if input.dim() == 2 and self.dim == 1 else input
        if x.dim() != self.dim + 2:
            raise ValueError(f"expected {self.dim + 2} axes, got {input.dim()}")
        over = (0, *range(2, x.dim()))
        if self.training:
            count = x.numel() // x.size(1)
            if count <= 1:
                raise ValueError("cannot normalize one value")
            mean = x.mean(over, dtype=torch.promote_types(x.dtype, torch.float32))
            residual = x - self.reshape(mean)
            var = residual.pow(2).mean(over)
            for old, new in (
                (self.running_mean, mean),
                (self.running_var, var * count / (count - 1)),
            ):
                old.copy_(old * (1 - self.momentum) + new.detach() * self.momentum)
        else:
            residual = x - self.reshape(self.running_mean)
            var = self.running_var
        y = residual * self.reshape(self.weight) / self.reshape((var + 1e-5).sqrt())
        y = y + self.reshape(self.bias)
        return y.to(input.dtype).reshape(input.shape)
