"""Training and evaluation confused."""

import torch
from torch import nn


class ModeFromGrad(nn.Module):
    """Takes gradients for training."""

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
        if torch.is_grad_enabled():  # wrong: mode_from_grad
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


class BatchInEvaluation1d(nn.Module):
    """Uses the batch in evaluation too."""

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
        if n == 1:
            raise ValueError("one sample has no variance")
        mean = x.mean(0)
        var = ((x - mean) ** 2).mean(0)
        if self.training:  # wrong: batch_in_evaluation
            m = self.momentum
            unbiased = var.detach() * n / (n - 1)
            self.moving_mean = (1 - m) * self.moving_mean + m * mean.detach()
            self.moving_var = (1 - m) * self.moving_var + m * unbiased
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class RunningInTraining2d(nn.Module):
    """Uses the running averages in training too."""

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
        if self.training:  # wrong: running_in_training
            count = x.shape[0] * x.shape[2] * x.shape[3]
            if count == 1:
                raise ValueError("one value per channel")
            batch_mean = x.mean(dim=(0, 2, 3), keepdim=True)
            batch_var = x.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
            with torch.no_grad():
                a = self.momentum
                corrected = batch_var * count / (count - 1)
                self.running_mean.copy_((1 - a) * self.running_mean + a * batch_mean)
                self.running_var.copy_((1 - a) * self.running_var + a * corrected)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


class UpdatesInEvaluation(nn.Module):
    """Moves its averages in evaluation too."""

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
        n = x.numel() // x.shape[1]
        if n == 1 and self.training:
            raise ValueError("one value per channel has no variance")
        mean = x.mean(axes)
        var = x.var(axes, correction=0)
        with torch.no_grad():
            self.running_mean.mul_(1 - self.momentum)  # wrong: updates_in_evaluation
            self.running_mean.add_(self.momentum * mean)
            self.running_var.mul_(1 - self.momentum)
            self.running_var.add_(self.momentum * var * n / (n - 1))
        if not self.training:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)


class ModeArgument1d(nn.Module):
    """Is told the mode by whoever calls it."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_var", torch.ones(num_features))

    def forward(self, x, training=True):  # wrong: mode_argument
        if x.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(x.shape)}")
        n = len(x)
        if training:
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


class NeedsTheMode2d(nn.Module):
    """Cannot be called without the mode."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, num_features, 1, 1))
        self.register_buffer("running_mean", torch.zeros(1, num_features, 1, 1))
        self.register_buffer("running_var", torch.ones(1, num_features, 1, 1))

    def forward(self, x, mode):  # wrong: needs_more_than_input
        if x.ndim != 4:
            raise ValueError(f"expected (N, C, H, W), got {tuple(x.shape)}")
        mean, var = self.running_mean, self.running_var
        if mode == "train":
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


class UnscaledInEvaluation1d(nn.Module):
    """Forgets scale and shift in evaluation."""

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
            shifted = x - self.moving_mean
            # wrong: evaluation_unscaled
            return shifted / torch.sqrt(self.moving_var + self.eps)
        normalized = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * normalized + self.beta


class NoRootInEvaluation(nn.Module):
    """Divides by the variance in evaluation."""

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
            mean = self.running_mean.view(shape)
            var = self.running_var.view(shape)
            y = (x - mean) / (var + self.eps)  # wrong: other_evaluation
            return y * self.weight.view(shape) + self.bias.view(shape)
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)


class OnlyWithGradients(nn.Module):
    """Does not move its averages under no_grad."""

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
            if torch.is_grad_enabled():  # wrong: one_mode
                m = self.momentum
                self.running_mean.mul_(1 - m).add_(m * mean.detach())
                self.running_var.mul_(1 - m).add_(m * var.detach() * n / (n - 1))
        else:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)
