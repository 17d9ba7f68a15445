"""Statistics and scale in modules of their own."""

import torch
from torch import nn


class Averages(nn.Module):
    def __init__(self, size, rate):
        super().__init__()
        self.rate = rate
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))

    @torch.no_grad()
    def update(self, mean, var):
        self.mean += self.rate * (mean - self.mean)
        self.var += self.rate * (var - self.var)


class Affine(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.g = nn.Parameter(torch.ones(size))
        self.b = nn.Parameter(torch.zeros(size))

    def forward(self, rows):
        return rows * self.g + self.b


class BN(nn.Module):
    def __init__(self, nf, eps=1e-5, mom=0.1):
        super().__init__()
        self.eps = eps
        self.averages = Averages(nf, mom)
        self.affine = Affine(nf)

    def forward(self, x):
        last = x.movedim(1, -1)
        rows = last.reshape(-1, last.shape[-1])
        if rows.dtype == torch.float16:
            rows = rows.float()
        mean, var = self.averages.mean, self.averages.var
        if self.training:
            if len(rows) == 1:
                raise ValueError("one row has no variance")
            mean = rows.mean(0)
            centered = rows - mean
            var = (centered * centered).mean(0)
            self.averages.update(mean, rows.var(0))
        rows = self.affine((rows - mean) / (var + self.eps) ** 0.5)
        return rows.view(last.shape).movedim(-1, 1).to(x.dtype)
