"""Running variances whose weights are wrong, and corrections in wrong places."""

import torch
from torch import nn


class Shared(nn.Module):
    """All but the update of the running variance."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        shape = (1, -1, *[1] * (x.ndim - 2))
        axes = (0, *range(2, x.ndim))
        if self.training:
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = x.mean(axes)
            var = x.var(axes, correction=0)
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean)
                self.update(var, n)
        else:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)


class CorrectsTheOld(Shared):
    """Multiplies the old average by n / (n - 1)."""

    def update(self, var, n):
        m = self.momentum
        old = (1 - m) * self.running_var * n / (n - 1)
        self.running_var.copy_(old + m * var)  # wrong: averages_weights


class CorrectsBoth(Shared):
    """Multiplies the new average by n / (n - 1)."""

    def update(self, var, n):
        m = self.momentum
        new = (1 - m) * self.running_var + m * var
        self.running_var = new * n / (n - 1)  # wrong: averages_weights


class SameWeightTwice(Shared):
    """Gives the weight of the old average to the new batch too."""

    def update(self, var, n):
        m = self.momentum
        self.running_var.mul_(1 - m)  # wrong: averages_weights
        self.running_var.add_((1 - m) * var * n / (n - 1))


class DividesOnly(Shared):
    """Divides by n - 1 a mean over n."""

    def update(self, var, n):
        m = self.momentum
        new = m * var / (n - 1)
        self.running_var.mul_(1 - m).add_(new)  # wrong: averages_weights


class VarianceReversed(Shared):
    """Gives momentum to the old variance, unlike for the mean."""

    def update(self, var, n):
        m = self.momentum
        new = (1 - m) * var * n / (n - 1)
        self.running_var.mul_(m).add_(new)  # wrong: averages_disagree


class CorrectedTwice(Shared):
    """Corrects an unbiased variance."""

    def update(self, var, n):
        m = self.momentum
        unbiased = var * n / (n - 1)
        new = m * unbiased * n / (n - 1)
        self.running_var.mul_(1 - m).add_(new)  # wrong: corrected_twice


class ParenthesesMissing(Shared):
    """Subtracts 1 from a quotient that is 1."""

    def update(self, var, n):
        m = self.momentum
        new = m * (var * n / n - 1)
        self.running_var.mul_(1 - m).add_(new)  # wrong: averages_other


class ParenthesesForgotten(Shared):
    """Subtracts 1 from everything, so that variances are negative."""

    def update(self, var, n):
        m = self.momentum
        new = m * var * n / n - 1
        self.running_var.mul_(1 - m).add_(new)  # wrong: averages_other


class MeanReversed(Shared):
    """Gives momentum to the old mean, unlike for the variance."""

    def forward(self, x):
        self.before = self.running_mean.clone()
        return super().forward(x)

    def update(self, var, n):
        m = self.momentum
        mean = (self.running_mean - (1 - m) * self.before) / m
        self.running_mean = m * self.before + (1 - m) * mean  # wrong: momentum_reversed
        self.running_var.mul_(1 - m).add_(m * var * n / (n - 1))
