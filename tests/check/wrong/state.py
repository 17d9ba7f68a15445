"""State that is kept in the wrong way."""

import threading

import torch
from torch import nn


class MissingDetach1d(nn.Module):
    """Lets the averages keep the graph of every step."""

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
            unbiased = var * n / (n - 1)
            # wrong: graph_kept
            self.moving_mean = (1 - m) * self.moving_mean + m * mean
            self.moving_var = (1 - m) * self.moving_var + m * unbiased
        else:
            mean, var = self.moving_mean, self.moving_var
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class PlainAttributes(nn.Module):
    """Keeps the averages in ordinary attributes."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.running_mean = torch.zeros(num_features)  # wrong: state_attribute
        self.running_var = torch.ones(num_features)

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
        return y * self.weight.view(shape) + self.bias.view(shape)


class NotPersistent2d(nn.Module):
    """Registers buffers that are not stored."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_features, 1, 1))
        mean = torch.zeros(1, num_features, 1, 1)
        var = torch.ones(1, num_features, 1, 1)
        # wrong: state_not_stored
        self.register_buffer("running_mean", mean, persistent=False)
        self.register_buffer("running_var", var, persistent=False)

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


class AveragesAsParameters(nn.Module):
    """Lets the optimizer train the running averages."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        # wrong: state_parameter
        self.running_mean = nn.Parameter(torch.zeros(num_features))
        self.running_var = nn.Parameter(torch.ones(num_features))

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
        return y * self.weight.view(shape) + self.bias.view(shape)


class KeepsItsOutput1d(nn.Module):
    """Keeps its last output, and with it the graph."""

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
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        self.out = self.gamma * normalized + self.beta  # wrong: graph_kept
        return self.out


class CannotBeCopied(nn.Module):
    """Holds something that cannot be copied.

    wrong without a line: copy_fails
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.lock = threading.Lock()
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
        return y * self.weight.view(shape) + self.bias.view(shape)


class OverwritesItsInput1d(nn.Module):
    """Centres its input in place."""

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
        x -= mean  # wrong: input_overwritten
        normalized = x / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class OnTheCpu(nn.Module):
    """Makes a tensor on the CPU, whatever the input."""

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
            zeros = torch.zeros(x.shape[1], dtype=x.dtype)
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = zeros + x.mean(axes)  # wrong: device_fixed
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
        return y * self.weight.view(shape) + self.bias.view(shape)


class ViewsItsInput2d(nn.Module):
    """Takes contiguous input only."""

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
            flat = x.view(len(x), self.num_features, -1)  # wrong: strides_refused
            mean = flat.mean((0, 2)).view(1, -1, 1, 1)
            var = flat.var((0, 2), unbiased=False).view(1, -1, 1, 1)
            with torch.no_grad():
                a = self.momentum
                corrected = var * count / (count - 1)
                self.running_mean.copy_((1 - a) * self.running_mean + a * mean)
                self.running_var.copy_((1 - a) * self.running_var + a * corrected)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


class GrowsInTraining(nn.Module):
    """Gets its buffers with the first batch."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", None)
        self.register_buffer("running_var", None)

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
                if self.running_mean is None:
                    self.running_mean = torch.zeros_like(mean)  # wrong: state_refused
                    self.running_var = torch.ones_like(var)
                self.running_mean.mul_(1 - self.momentum)
                self.running_mean.add_(self.momentum * mean)
                self.running_var.mul_(1 - self.momentum)
                self.running_var.add_(self.momentum * var * n / (n - 1))
        else:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)
