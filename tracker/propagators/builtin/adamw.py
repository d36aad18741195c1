"""AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), algorithm 2.

PyTorch has it too, but its optimisers load the compiler of PyTorch when they are made: two seconds
of a short run, and a folder of its own left in the temp folder.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class AdamW:
    """Changes parameters by their gradients."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        """`decay`: weight decay, in parts of the learning rate."""
        self._parameters: list[Tensor] = list(parameters)
        self._decay = decay
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step at learning rate `rate`; gradients are used up."""
        gradients: list[Tensor] = []
        for parameter in self._parameters:
            assert parameter.grad is not None
            gradients.append(parameter.grad)
            parameter.grad = None
        self._steps += 1
        first, second = _BETAS
        torch._foreach_lerp_(self._means, gradients, 1 - first)
        torch._foreach_mul_(self._squares, second)
        torch._foreach_addcmul_(self._squares, gradients, gradients, 1 - second)
        scale = torch._foreach_sqrt(self._squares)
        torch._foreach_div_(scale, (1 - second**self._steps) ** 0.5)
        torch._foreach_add_(scale, _EPSILON)
        torch._foreach_mul_(self._parameters, 1 - rate * self._decay)
        torch._foreach_addcdiv_(
            self._parameters, self._means, scale, -rate / (1 - first**self._steps)
        )
