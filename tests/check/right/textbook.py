"""The textbook's layer with all corrections."""

import torch
from torch import nn


def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum, training):
    if not training:
        X_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
        return gamma * X_hat + beta
    if X.ndim not in (2, 4):
        raise ValueError(f"expected 2 or 4 axes, got {X.ndim}")
    n = X.numel() // X.shape[1]
    if n == 1:
        raise ValueError("one value per channel")
    values = X.to(torch.promote_types(X.dtype, torch.float32))
    dims = (0,) if X.ndim == 2 else (0, 2, 3)
    mean = values.mean(dim=dims, keepdim=True)
    var = ((values - mean) ** 2).mean(dim=dims, keepdim=True)
    X_hat = ((values - mean) / torch.sqrt(var + eps)).to(X.dtype)
    with torch.no_grad():
        moving_mean.copy_((1.0 - momentum) * moving_mean + momentum * mean)
        unbiased = var * n / (n - 1)
        moving_var.copy_((1.0 - momentum) * moving_var + momentum * unbiased)
    return gamma * X_hat + beta


class BatchNorm(nn.Module):
    def __init__(self, num_features, num_dims):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.register_buffer("moving_mean", torch.zeros(shape))
        self.register_buffer("moving_var", torch.ones(shape))

    def forward(self, X):
        return batch_norm(
            X,
            self.gamma,
            self.beta,
            self.moving_mean,
            self.moving_var,
            eps=1e-5,
            momentum=0.1,
            training=self.training,
        )
