"""How the decoder's parameters follow their gradients: Muon for kernels, AdamW for the rest.

Muon: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024): the fading
sum of a kernel's gradients, as a matrix, is replaced by the nearest matrix whose singular values
are all alike, so that no direction is starved. With as many steps it brings some .02 of J&F over
AdamW (docs/quality.md). AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR
2019), algorithm 2.

PyTorch has both too, but its optimisers load the compiler of PyTorch when they are made: two
seconds of a short run, and a folder of its own left in the temp folder.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_MOMENTUM = 0.95
_MATRIX = 7.0  # the rate of kernels, in parts of that of the rest
_ROUNDS = 5  # of the iteration that makes singular values alike
_ODD = (3.4445, -4.7750, 2.0315)  # the coefficients of its polynomial


class Optimiser:
    """Changes parameters by their gradients."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        """`decay`: weight decay, in parts of the learning rate."""
        everything: list[Tensor] = list(parameters)
        self._kernels = [each for each in everything if each.ndim > 1 and each.shape[0] > 1]
        self._rest = [each for each in everything if each.ndim == 1 or each.shape[0] == 1]
        self._decay = decay
        heights = sorted({each.shape[0] for each in self._kernels})
        self._alike = [
            [k for k, each in enumerate(self._kernels) if each.shape[0] == height]
            for height in heights
        ]
        self._momenta = [torch.zeros_like(each) for each in self._kernels]
        self._means = [torch.zeros_like(each) for each in self._rest]
        self._squares = [torch.zeros_like(each) for each in self._rest]
        self._steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step at learning rate `rate`; gradients are used up."""
        self._steps += 1
        self._step_rest(rate)
        self._step_kernels(rate * _MATRIX)

    def _step_rest(self, rate: float) -> None:
        gradients = _taken(self._rest)
        first, second = _BETAS
        torch._foreach_lerp_(self._means, gradients, 1 - first)
        torch._foreach_mul_(self._squares, second)
        torch._foreach_addcmul_(self._squares, gradients, gradients, 1 - second)
        scale = torch._foreach_sqrt(self._squares)
        torch._foreach_div_(scale, (1 - second**self._steps) ** 0.5)
        torch._foreach_add_(scale, _EPSILON)
        torch._foreach_mul_(self._rest, 1 - rate * self._decay)
        torch._foreach_addcdiv_(self._rest, self._means, scale, -rate / (1 - first**self._steps))

    def _step_kernels(self, rate: float) -> None:
        gradients = _taken(self._kernels)
        torch._foreach_mul_(self._momenta, _MOMENTUM)
        torch._foreach_add_(self._momenta, gradients)
        torch._foreach_add_(gradients, self._momenta, alpha=_MOMENTUM)
        torch._foreach_mul_(self._kernels, 1 - rate * self._decay)
        for members in self._alike:
            changes = _even([gradients[k].flatten(1) for k in members])
            for k, change in zip(members, changes, strict=True):
                kernel = self._kernels[k]
                kernel.sub_(change.view_as(kernel), alpha=rate)


def _taken(parameters: Iterable[Tensor]) -> list[Tensor]:
    gradients = []
    for parameter in parameters:
        assert parameter.grad is not None
        gradients.append(parameter.grad)
        parameter.grad = None
    return gradients


def _even(matrices: list[Tensor]) -> list[Tensor]:
    """`matrices` of one height with their singular values brought near 1.

    The iteration of Newton and Schulz, as factors of the matrices: it then works on squares of
    their height, for all at once.
    """
    scaled = [matrix / (matrix.norm() + _EPSILON) for matrix in matrices]
    square = torch.stack([matrix @ matrix.T for matrix in scaled])
    one = torch.eye(square.shape[-1], device=square.device)
    a, b, c = _ODD
    factor = one
    for _ in range(_ROUNDS):
        step = a * one + b * square + c * square @ square
        factor = step @ factor
        square = step @ square @ step
    return [left @ matrix for left, matrix in zip(factor, scaled, strict=True)]
