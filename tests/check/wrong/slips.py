"""One line of the formula is wrong in a way that is seen again and again."""

import torch
from torch import nn


class Shared(nn.Module):
    """All but the statistics and the normalization."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def statistics(self, x):
        return x.mean(0), x.var(0, correction=0)

    def normalized(self, x, mean, var):
        return (x - mean) / torch.sqrt(var + self.eps)

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(x.shape)}")
        if self.training:
            if len(x) == 1:
                raise ValueError("one sample has no variance")
            mean, var = self.statistics(x)
            with torch.no_grad():
                self.running_mean.lerp_(x.mean(0), self.momentum)
                self.running_var.lerp_(x.var(0), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        return self.weight * self.normalized(x, mean, var) + self.bias


class OneMean(Shared):
    def statistics(self, x):
        return x.mean(), x.var(0, correction=0)  # wrong: mean_of_all


class OneMeanForBoth(Shared):
    def statistics(self, x):
        mean = x.mean()  # wrong: mean_of_all
        return mean, ((x - mean) ** 2).mean(0)


class OneVariance(Shared):
    def statistics(self, x):
        mean = x.mean(0)  # wrong: var_of_all
        return mean, x.var()


class DeviationForVariance(Shared):
    def statistics(self, x):
        return x.mean(0), x.std(0)  # wrong: root_of_deviation


class SumForMean(Shared):
    def statistics(self, x):
        mean = x.mean(0)
        var = ((x - mean) ** 2).sum(0)  # wrong: sum_for_mean
        return mean, var


class ParenthesesForgotten2(Shared):
    def normalized(self, x, mean, var):
        return x - mean / torch.sqrt(var + self.eps)  # wrong: division_first
