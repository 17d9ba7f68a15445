"""Scale, shift and gradients that go wrong."""

import torch
from torch import nn


class NothingLearned(nn.Module):
    """Standardizes, and learns nothing."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):  # wrong: learned_missing
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        shape = (1, -1, *[1] * (x.ndim - 2))
        if self.training:
            axes = (0, *range(2, x.ndim))
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = x.mean(axes)
            var = x.var(axes, correction=0)
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum)
                self.running_mean.add_(self.momentum * mean)
                self.running_var.mul_(1 - self.momentum)
                self.running_var.add_(self.momentum * var * n / (n - 1))
        else:
            mean = self.running_mean
            var = self.running_var
        return (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)


class PlainTensors1d(nn.Module):
    """Has a scale and a shift that no optimizer sees."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        # wrong: learned_no_parameter
        self.register_buffer("gamma", torch.ones(num_features))
        self.register_buffer("beta", torch.zeros(num_features))
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
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class OneScale2d(nn.Module):
    """Has one scale for all channels."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(1))  # wrong: learned_shape
        self.bias = nn.Parameter(torch.zeros(1, num_features, 1, 1))
        self.register_buffer("running_mean", torch.zeros(1, num_features, 1, 1))
        self.register_buffer("running_var", torch.ones(1, num_features, 1, 1))

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(f"expected (N, C, H, W), got {tuple(x.shape)}")
        mean, var = self.running_mean, self.running_var
        if self.training:
            count = x.shape[0] * x.shape[2] * x.shape[3]
            if count == 1:
                raise ValueError("one value per channel")
            mean = x.mean(dim=(0, 2, 3), keepdim=True)
            var = x.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
            with torch.no_grad():
                a = self.momentum
                corrected = var * count / (count - 1)
                self.running_mean.copy_((1 - a) * self.running_mean + a * mean)
                self.running_var.copy_((1 - a) * self.running_var + a * corrected)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


class RandomScale1d(nn.Module):
    """Starts with a random scale."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.rand(num_features))  # wrong: learned_start
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
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class ShiftIsScaled(nn.Module):
    """Adds the shift before the scale."""

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
        if self.training:
            axes = (0, *range(2, x.ndim))
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = x.mean(axes)
            var = x.var(axes, correction=0)
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum)
                self.running_mean.add_(self.momentum * mean)
                self.running_var.mul_(1 - self.momentum)
                self.running_var.add_(self.momentum * var * n / (n - 1))
        else:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        # wrong: learned_effect
        return (y + self.bias.view(shape)) * self.weight.view(shape)


class DetachedStatistics1d(nn.Module):
    """Takes mean and variance out of the graph."""

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
            mean = x.detach().mean(0)  # wrong: gradient_detached
            var = ((x - mean) ** 2).mean(0).detach()
            m = self.momentum
            unbiased = var * n / (n - 1)
            self.moving_mean = (1 - m) * self.moving_mean + m * mean
            self.moving_var = (1 - m) * self.moving_var + m * unbiased
        else:
            mean, var = self.moving_mean, self.moving_var
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class DetachedVariance2d(nn.Module):
    """Takes the variance out of the graph."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_features, 1, 1))
        self.register_buffer("running_mean", torch.zeros(1, num_features, 1, 1))
        self.register_buffer("running_var", torch.ones(1, num_features, 1, 1))

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(f"expected (N, C, H, W), got {tuple(x.shape)}")
        mean, var = self.running_mean, self.running_var
        if self.training:
            count = x.shape[0] * x.shape[2] * x.shape[3]
            if count == 1:
                raise ValueError("one value per channel")
            mean = x.mean(dim=(0, 2, 3), keepdim=True)
            # wrong: gradient_detached
            var = x.data.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
            with torch.no_grad():
                a = self.momentum
                corrected = var * count / (count - 1)
                self.running_mean.copy_((1 - a) * self.running_mean + a * mean)
                self.running_var.copy_((1 - a) * self.running_var + a * corrected)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


class NoGradient1d(nn.Module):
    """Normalizes the data behind the tensor."""

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
        # wrong: gradient_blocked
        normalized = ((x - mean) / torch.sqrt(var + self.eps)).detach()
        return self.gamma * normalized + self.beta
