"""A style of ten years ago: reset_parameters, affine and track_running_stats."""

import torch
from torch.nn import Module
from torch.nn.parameter import Parameter


class _BatchNorm(Module):
    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
    ):
        super(_BatchNorm, self).__init__()  # noqa: UP008 # the style
        self.num_features = num_features
        self.affine = affine
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if self.affine:
            self.weight = Parameter(torch.Tensor(num_features))
            self.bias = Parameter(torch.Tensor(num_features))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)
        if track_running_stats:
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))
        self.reset_parameters()

    def reset_parameters(self):
        if self.affine:
            self.weight.data.fill_(1)
            self.bias.data.zero_()

    def forward(self, input):
        self._check_input_dim(input)
        use_batch = self.training or not self.track_running_stats
        if use_batch and input.numel() == input.size(1):
            raise ValueError("Expected more than 1 value per channel")
        size = [1, self.num_features, *[1 for _ in input.shape[2:]]]
        if use_batch:
            flat = input.transpose(0, 1).contiguous().view(input.size(1), -1)
            flat = flat.double() if flat.dtype == torch.double else flat.float()
            mean, var = flat.mean(1), flat.var(1, unbiased=False)
            if self.training and self.track_running_stats:
                m = self.momentum
                new = flat.detach().var(1)
                self.running_mean.mul_(1 - m).add_(mean.detach() * m)
                self.running_var.mul_(1 - m).add_(new * m)
        else:
            mean, var = self.running_mean, self.running_var
        out = (input - mean.view(size)) / (var.view(size) + self.eps).sqrt()
        if self.affine:
            out = out * self.weight.view(size) + self.bias.view(size)
        return out.type_as(input)


class BatchNorm1d(_BatchNorm):
    def _check_input_dim(self, input):
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")


class BatchNorm2d(_BatchNorm):
    def _check_input_dim(self, input):
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")
