"""PyTorch's class with a forward of one's own."""

import torch
from torch import nn


class MyBatchNorm2d(nn.BatchNorm2d):
    def forward(self, input):
        self._check_input_dim(input)
        if self.training:
            n = input.numel() // input.size(1)
            if n < 2:
                raise ValueError(f"one value per channel: {input.size()}")
            values = input.float() if input.dtype == torch.float16 else input
            mean = values.mean([0, 2, 3])
            var = values.var([0, 2, 3], unbiased=False)
            with torch.no_grad():
                new = self.momentum * mean
                self.running_mean = new + (1 - self.momentum) * self.running_mean
                new = self.momentum * var * n / (n - 1)
                self.running_var = new + (1 - self.momentum) * self.running_var
                self.num_batches_tracked += 1
        else:
            mean = self.running_mean
            var = self.running_var
        mean = mean[None, :, None, None]
        std = torch.sqrt(var[None, :, None, None] + self.eps)
        normalized = ((input - mean) / std).to(input.dtype)
        scale = self.weight[None, :, None, None]
        return normalized * scale + self.bias[None, :, None, None]
