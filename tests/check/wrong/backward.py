"""A backward pass by hand that is wrong."""

import torch
from torch import nn


class Standardize(torch.autograd.Function):
    """Normalizes, with a backward pass that forgets the variance."""

    @staticmethod
    def forward(ctx, x, mean, var, eps):
        deviation = torch.sqrt(var + eps)
        ctx.save_for_backward(deviation)
        return (x - mean) / deviation

    @staticmethod
    def backward(ctx, grad):  # wrong: gradient_wrong
        (deviation,) = ctx.saved_tensors
        return 2 * grad / deviation, None, None, None


class WrongBackward1d(nn.Module):
    """Has a backward pass of its own."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_var", torch.ones(num_features))

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(x.shape)}")
        n = len(x)
        if self.training:
            if n == 1:
                raise ValueError("one sample has no variance")
            mean = x.mean(0)
            var = ((x - mean) ** 2).mean(0)
            m = self.momentum
            unbiased = var.detach() * n / (n - 1)
            self.moving_mean = (1 - m) * self.moving_mean + m * mean.detach()
            self.moving_var = (1 - m) * self.moving_var + m * unbiased
        else:
            mean, var = self.moving_mean, self.moving_var
        normalized = Standardize.apply(x, mean.detach(), var.detach(), self.eps)
        return self.gamma * normalized + self.beta
