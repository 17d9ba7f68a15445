"""Statistics over the wrong axes."""

import torch
from torch import nn


class InstanceAxes2d(nn.Module):
    """Averages over the positions of every sample."""

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
            mean = x.mean(dim=(2, 3), keepdim=True)  # wrong: wrong_axes
            var = x.var(dim=(2, 3), keepdim=True, unbiased=False)
            with torch.no_grad():
                a = self.momentum
                corrected = var * count / (count - 1)
                new = mean.mean(0, keepdim=True)
                self.running_mean.copy_((1 - a) * self.running_mean + a * new)
                new = corrected.mean(0, keepdim=True)
                self.running_var.copy_((1 - a) * self.running_var + a * new)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


class WholeBatch1d(nn.Module):
    """Has one mean for everything."""

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
            mean = x.mean()  # wrong: wrong_axes
            var = ((x - mean) ** 2).mean()
            m = self.momentum
            unbiased = var.detach() * n / (n - 1)
            self.moving_mean = (1 - m) * self.moving_mean + m * mean.detach()
            self.moving_var = (1 - m) * self.moving_var + m * unbiased
        else:
            mean, var = self.moving_mean, self.moving_var
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class SampleAxes1d(nn.Module):
    """Averages over the channels, as layer norm does."""

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
            mean = x.mean(1, keepdim=True)  # wrong: wrong_axes
            var = ((x - mean) ** 2).mean(1, keepdim=True)
            m = self.momentum
            unbiased = var.detach() * n / (n - 1)
            self.moving_mean = (1 - m) * self.moving_mean + m * mean.detach().mean()
            self.moving_var = (1 - m) * self.moving_var + m * unbiased.mean()
        else:
            mean, var = self.moving_mean, self.moving_var
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class SamplesOnly(nn.Module):
    """Averages images over the samples only."""

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
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = x.mean(0, keepdim=True)  # wrong: wrong_axes
            var = x.var(0, keepdim=True, correction=0)
            means = mean.flatten(2).mean((0, 2)) if x.ndim > 2 else mean[0]
            variances = var.flatten(2).mean((0, 2)) if x.ndim > 2 else var[0]
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum)
                self.running_mean.add_(self.momentum * means)
                self.running_var.mul_(1 - self.momentum)
                self.running_var.add_(self.momentum * variances * n / (n - 1))
        else:
            mean = self.running_mean.view(shape)
            var = self.running_var.view(shape)
        y = (x - mean) / torch.sqrt(var + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)


class SilentForSequences1d(nn.Module):
    """Takes sequences whose length happens to fit."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_var", torch.ones(num_features))

    def forward(self, x):
        n = len(x)
        if self.training:
            if n == 1:
                raise ValueError("one sample has no variance")
            mean = x.mean(0)  # wrong: silent_shape
            var = ((x - mean) ** 2).mean(0)
            m = self.momentum
            unbiased = var.detach() * n / (n - 1)
            self.moving_mean = (1 - m) * self.moving_mean + m * mean.detach()
            self.moving_var = (1 - m) * self.moving_var + m * unbiased
        else:
            mean, var = self.moving_mean, self.moving_var
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class WrongReshape2d(nn.Module):
    """Reads the memory as if the channels came first."""

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
            flat = x.reshape(self.num_features, -1)
            # wrong: wrong_reshape
            mean = flat.mean(1).view(1, -1, 1, 1)
            var = flat.var(1, unbiased=False).view(1, -1, 1, 1)
            with torch.no_grad():
                a = self.momentum
                corrected = var * count / (count - 1)
                self.running_mean.copy_((1 - a) * self.running_mean + a * mean)
                self.running_var.copy_((1 - a) * self.running_var + a * corrected)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias
