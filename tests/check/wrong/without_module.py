"""Batch norm as lectures on language models write it, for their own loops."""

import torch


class BatchNorm1d:  # wrong: no_module
    def __init__(self, dim, eps=1e-5, momentum=0.1):
        self.eps = eps
        self.momentum = momentum
        self.training = True
        self.gamma = torch.ones(dim)
        self.beta = torch.zeros(dim)
        self.running_mean = torch.zeros(dim)
        self.running_var = torch.ones(dim)

    def __call__(self, x):
        if self.training:
            xmean = x.mean(0, keepdim=True)
            xvar = x.var(0, keepdim=True)
        else:
            xmean = self.running_mean
            xvar = self.running_var
        xhat = (x - xmean) / torch.sqrt(xvar + self.eps)
        self.out = self.gamma * xhat + self.beta
        if self.training:
            with torch.no_grad():
                old, new = 1 - self.momentum, self.momentum
                self.running_mean = old * self.running_mean + new * xmean
                self.running_var = old * self.running_var + new * xvar
        return self.out

    def parameters(self):
        return [self.gamma, self.beta]
