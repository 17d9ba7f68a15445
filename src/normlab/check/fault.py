"""What a fault is, and code that fixes several of them.

A sentence has the measured figures in braces. A fix says what to change in words; the
code is shown only to those who ask for it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Something that layers do wrong.

    Attributes:
        property: name of the property that a layer with this fault lacks.
        sentence: what is wrong, with names of figures in braces.
        fix: what to change, in words.
        code: an example of the fix.
        why: why it matters.
    """

    property: str
    sentence: str
    fix: str
    why: str
    code: str = ""


UPDATE = """\
with torch.no_grad():
    m = self.momentum
    n = x.numel() / x.shape[1]
    self.running_mean.mul_(1 - m).add_(m * mean)
    self.running_var.mul_(1 - m).add_(m * var * n / (n - 1))"""
NORMALIZE_OVER = """\
axes = {axes}
mean = x.mean(axes, keepdim=True)
var = x.var(axes, keepdim=True, correction=0)
y = (x - mean) / torch.sqrt(var + self.eps)"""
NORMALIZE = NORMALIZE_OVER.format(axes="(0, *range(2, x.ndim))")
NORMALIZE_SAMPLE = NORMALIZE_OVER.format(axes="tuple(range(1, x.ndim))")
NORMALIZE_POSITIONS = NORMALIZE_OVER.format(axes="tuple(range(2, x.ndim))")
NORMALIZE_GROUPS = """\
groups = x.reshape(len(x), self.num_groups, -1)
mean = groups.mean(2, keepdim=True)
var = groups.var(2, keepdim=True, correction=0)
y = ((groups - mean) / torch.sqrt(var + self.eps)).reshape(x.shape)"""
DIVIDE_BY_RMS = """\
mean_square = x.square().mean(1, keepdim=True)
y = x / torch.sqrt(mean_square + self.eps)"""
BUFFERS = """\
self.register_buffer("running_mean", torch.zeros(num_features))
self.register_buffer("running_var", torch.ones(num_features))"""
LEARNED = """\
self.weight = nn.Parameter(torch.ones(num_features))
self.bias = nn.Parameter(torch.zeros(num_features))
# and in forward, with shape = (1, -1, *[1] * (x.ndim - 2)):
y = y * self.weight.view(shape) + self.bias.view(shape)"""
LEARNED_SCALE = """\
self.weight = nn.Parameter(torch.ones(num_features))
# and in forward, with shape = (1, -1, *[1] * (x.ndim - 2)):
y = y * self.weight.view(shape)"""
MODE = """\
if self.training:
    ...  # statistics of the batch; move the running averages
else:
    ...  # the running averages"""

# Other kinds than batch norm, by the example for batch norm.
EXAMPLES: dict[str, dict[str, str]] = {
    NORMALIZE: {
        "layer": NORMALIZE_SAMPLE,
        "group": NORMALIZE_GROUPS,
        "instance": NORMALIZE_POSITIONS,
        "rms": DIVIDE_BY_RMS,
    },
    LEARNED: {"rms": LEARNED_SCALE},
}


def example_for(code: str, kind: str) -> str:
    """The example of a fix as it is for a kind of layer.

    Args:
        code: the example for batch norm.
        kind: name of the kind.
    """
    return EXAMPLES.get(code, {}).get(kind, code)
