"""Optimizers beside those of `torch.optim`: Muon joined with AdamW, SAM, all of timm.

A configuration names them as its `optimizer._target_`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from normlab.norms.parameters import norm_parameters
from normlab.spelling import did_you_mean

Groups = list[dict[str, Any]]
# Ranks of the weights of linear layers and of convolutions over images.
MATRIX_RANKS = (2, 4)
SMALLEST_LENGTH = 1e-12  # of a gradient, against division by zero


class MuonWithAdamW(Optimizer):
    """Muon for the weights of hidden layers, AdamW for all other parameters.

    Muon moves a matrix along its momentum, made orthogonal: with the singular value
    decomposition U S V^T of the momentum, along U V^T (Jordan et al., 2024, Muon: an
    optimizer for hidden layers in neural networks). It is made for hidden layers;
    biases, norms, embeddings, the first and the last layer are left to AdamW. A
    convolution of shape ``(out, in, height, width)`` counts as a matrix
    ``(out, in * height * width)``.

    Both are PyTorch's own, with one learning rate: under `match_rms_adamw` the updates
    of Muon have the root mean square of those of AdamW (Liu et al., 2025, arXiv
    2502.16982).

    Args:
        params: groups of parameters from `divide`; the weights of hidden layers are in
            groups with `hidden` true.
        lr: learning rate.
        weight_decay: share of the weights taken away per step, times the rate.
        momentum, nesterov, ns_steps, adjust_lr_fn: see `torch.optim.Muon`.
        betas, eps, fused: see `torch.optim.AdamW`.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        fused: bool | None = None,
    ) -> None:
        # Each checks its own arguments and has their defaults. Their parameters are
        # those of this optimizer, which `step` hands to them.
        self._muon = torch.optim.Muon(
            [nn.Parameter(torch.zeros(1, 1))],
            lr,
            weight_decay,
            momentum,
            nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
        )
        self._adamw = torch.optim.AdamW(
            [nn.Parameter(torch.zeros(1))], lr, betas, eps, weight_decay, fused=fused
        )
        groups = []
        for group in params:
            owner = self._muon if group["hidden"] else self._adamw
            groups.append({**owner.defaults, **group})
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @staticmethod
    def divide(groups: Groups, network: nn.Module) -> Groups:
        """Divide groups of parameters into those of hidden layers and all others.

        Args:
            groups: groups of parameters of the network.
            network: the network that is trained.

        Raises:
            ValueError: the network has no hidden layers to train.
        """
        hidden = {id(weight) for weight in hidden_weights(network)}
        divided = []
        for group in groups:
            for is_hidden in (True, False):
                members = [
                    value
                    for value in group["params"]
                    if (id(value) in hidden) == is_hidden
                ]
                if members:
                    divided.append({**group, "params": members, "hidden": is_hidden})
        if not any(group["hidden"] for group in divided):
            raise ValueError(
                "Muon trains the weights of hidden layers, and the network has none to "
                "train; take optimizer=adamw"
            )
        return divided

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of both optimizers.

        Args:
            closure: computes the loss and its gradients again, see `Optimizer.step`.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step_muon([group for group in self.param_groups if group["hidden"]])

        self._adamw.state = self.state
        others = [group for group in self.param_groups if not group["hidden"]]
        self._adamw.param_groups = others
        self._adamw.step()
        return loss

    def _step_muon(self, groups: Groups) -> None:
        weights: dict[Tensor, nn.Parameter] = {}
        flat_groups = []
        for group in groups:
            trained = [value for value in group["params"] if value.grad is not None]
            matrices = [_as_matrix(value) for value in trained]
            weights |= dict(zip(matrices, trained, strict=True))
            flat_groups.append({**group, "params": matrices})
        # Muon fills the dictionaries of `self.state`, which belong to the weights.
        state = {matrix: self.state[weight] for matrix, weight in weights.items()}
        self._muon.state = defaultdict(dict, state)
        self._muon.param_groups = flat_groups
        self._muon.step()
        for matrix, weight in weights.items():
            if not weight.is_contiguous():  # the matrix is a copy
                weight.copy_(matrix.view(weight.shape))


def _as_matrix(weight: Tensor) -> Tensor:
    """A weight and its gradient with one row per output; a view if that is possible."""
    assert weight.grad is not None
    matrix = weight.detach().flatten(1)
    matrix.grad = weight.grad.flatten(1)
    return matrix


def hidden_weights(network: nn.Module) -> list[nn.Parameter]:
    """The weights of the hidden layers of a network, in the order of its parameters.

    They are the weights of linear layers and of convolutions over images, without the
    first and the last of them, embeddings, and the parameters of norms.

    Args:
        network: any module, of which `normlab.norms.parameters` knows the norms.
    """
    others: set[Tensor] = {*norm_parameters(network)}
    for module in network.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            others.add(module.weight)
    weights = []
    for value in network.parameters():
        if value.ndim in MATRIX_RANKS and value not in others:
            weights.append(value)
    return weights[1:-1]


class SAM(Optimizer):
    r"""Sharpness-aware minimization: steps by the gradient at the worst point nearby.

    .. math::

        \hat\epsilon = \rho \, \frac{g}{\lVert g \rVert_2}
        \qquad g = \nabla L(w)

    Another optimizer moves the weights w by the gradient of the loss L at
    :math:`w + \hat\epsilon` in place of g. Both are gradients of one batch, so that a
    step takes twice as long. Whoever makes the steps computes g, computes the other
    gradient inside of `perturbed`, and calls `step`. Running statistics must not be
    updated a second time there.

    With `adaptive`, the point is sought in a region that has the shape of the weights
    (ASAM: Kwon et al., 2021, arXiv 2102.11600):

    .. math::

        \hat\epsilon = \rho \, \frac{w^2 g}{\lVert w g \rVert_2}

    Args:
        params: groups of parameters.
        base: builds the optimizer that moves the weights, from groups of parameters and
            a learning rate.
        lr: learning rate.
        rho: :math:`\rho`, the distance of the point.
        adaptive: whether the region has the shape of the weights.

    References:
        Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for
        Efficiently Improving Generalization", 2021, arXiv 2010.01412.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        base: Callable[..., Optimizer],
        lr: float = 0.1,
        rho: float = 0.05,
        adaptive: bool = False,
    ) -> None:
        if rho <= 0:
            raise ValueError(f"rho must be above 0, got {rho}")
        self._base = base(params, lr=lr)
        own = {"rho": rho, "adaptive": adaptive}
        groups = self._base.param_groups
        super().__init__(groups, {**self._base.defaults, **own})

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Hold the weights at the worst point nearby; then they are the same bits."""
        weights, directions = self._directions()
        before = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            torch._foreach_add_(weights, directions)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(weights, before)

    @torch.no_grad()
    def _directions(self) -> tuple[list[Tensor], list[Tensor]]:
        """The weights with gradients, and how far each is moved."""
        weights = []
        scaled = []
        distances = []
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                scale = weight.abs() if group["adaptive"] else torch.ones_like(weight)
                weights.append(weight)
                scaled.append(scale * weight.grad)
                distances.append(group["rho"] * scale)
        length = nn.utils.get_total_norm(scaled) + SMALLEST_LENGTH
        directions = [
            distance * gradient / length
            for distance, gradient in zip(distances, scaled, strict=True)
        ]
        return weights, directions

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of the other optimizer.

        Args:
            closure: computes the loss and its gradients again, see `Optimizer.step`.
        """
        self._base.param_groups = self.param_groups
        self._base.state = self.state
        return self._base.step(closure)


def timm_optimizer(
    params: Groups, name: str, lr: float, options: dict[str, Any] | None = None
) -> Optimizer:
    """An optimizer of timm by its name.

    Args:
        params: groups of parameters.
        name: one of `timm.optim.list_optimizers()`, such as adan; with `lookahead_`
            before it, an optimizer that looks ahead.
        lr: learning rate.
        options: further arguments of the optimizer.

    Raises:
        ValueError: timm is not installed, it has no such optimizer, or the optimizer
            does not take the options.
    """
    try:
        from timm.optim import create_optimizer_v2, list_optimizers
    except ImportError as error:
        raise ValueError("optimizer=timm needs timm: pip install timm") from error
    known = [str(each) for each in list_optimizers()]
    if name.removeprefix("lookahead_") not in known:
        hint = did_you_mean(name, known)
        raise ValueError(
            f"optimizer.name must be one of timm.optim.list_optimizers(), "
            f"got {name!r}{hint}"
        )
    try:
        return create_optimizer_v2(params, name, lr, **(options or {}))
    except TypeError as error:
        raise ValueError(
            f"optimizer.options do not fit timm's {name}: {error}"
        ) from error
