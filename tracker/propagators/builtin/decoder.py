"""The part that learns: from frozen features and a rough mask of one object to its exact mask.

That a small decoder is trained per video on its first mask is the idea of Caelles et al., "One-Shot
Video Object Segmentation" (CVPR 2017); that the last mask is a further input, of Perazzi et al.,
"Learning Video Object Segmentation from Static Images" (CVPR 2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.builtin.backbone import WIDTHS, Features

PRIORS = 2  # planes of a prior: the object itself, and all others together
RECALL = 2  # planes of what is remembered: of the same two
_BLUR = 9  # side of the mean of the prior that the deepest level sees


class Shared(NamedTuple):
    """What images say of any object, by level: (N, C, H / stride, W / stride)."""

    s2: Tensor
    s4: Tensor
    s8: Tensor
    s16: Tensor

    def part(self, top: int, bottom: int, left: int, right: int) -> Shared:
        """A part of one image, given in pixels of the input, multiples of the coarsest stride."""
        return Shared(
            *(
                maps[..., top // stride : bottom // stride, left // stride : right // stride]
                for stride, maps in zip((2, 4, 8, 16), self, strict=True)
            )
        )


class Decoder(nn.Module):
    """One network for all objects of a job: a prior says which object is meant.

    What depends on the image alone (`shared`) is computed once and serves all objects.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv2d(WIDTHS.s32, 24, 1)
        self.s16 = nn.Conv2d(WIDTHS.s16, 48, 1)
        self.look16 = nn.Conv2d(72, 48, 3, padding=1)
        self.look8 = nn.Conv2d(WIDTHS.s8, 32, 3, padding=1)
        self.look4 = nn.Conv2d(WIDTHS.s4 + 3, 24, 3, padding=1)
        self.look2 = nn.Conv2d(WIDTHS.s2, 12, 1)
        self.join16 = nn.Conv2d(PRIORS + 1 + RECALL, 48, 3, padding=1, bias=False)
        self.then16 = nn.Conv2d(48, 32, 3, padding=1)
        self.aux = nn.Conv2d(32, 1, 1)
        self.up8 = nn.Conv2d(32, 32, 1, bias=False)
        self.join8 = nn.Conv2d(PRIORS + RECALL, 32, 3, padding=1, bias=False)
        self.then8 = nn.Conv2d(32, 32, 3, padding=1)
        self.up4 = nn.Conv2d(32, 24, 1, bias=False)
        self.join4 = nn.Conv2d(PRIORS, 24, 3, padding=1, bias=False)
        self.then4 = nn.Conv2d(24, 24, 3, padding=1)
        self.up2 = nn.Conv2d(24, 12, 1, bias=False)
        self.join2 = nn.Conv2d(PRIORS, 12, 3, padding=1, bias=False)
        self.then2 = nn.Conv2d(12, 12, 3, padding=1)
        self.out = nn.Conv2d(12, 1, 3, padding=1)

    def shared(self, features: Features, colours: Tensor) -> Shared:
        """What the images say. `features` standardised; `colours`: (N, 3, H/4, W/4), about 0."""
        deep = _grown(self.deep(features.s32), features.s16)
        return Shared(
            s2=self.look2(features.s2),
            s4=self.look4(torch.cat([features.s4, colours], 1)),
            s8=self.look8(features.s8),
            s16=self.look16(torch.cat([functional.relu(self.s16(features.s16)), deep], 1)),
        )

    def forward(self, shared: Shared, prior: Tensor, recall: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of K objects, (K, 1, H/2, W/2), and coarse ones, (K, 1, H/16, W/16).

        `prior`: (K, PRIORS, H/2, W/2) and `recall`: (K, RECALL, H/16, W/16), in [0, 1]. `shared`
        has N entries, K being a multiple of N: the first K / N priors are of the first image, and
        so on.
        """
        prior4 = functional.avg_pool2d(prior, 2)
        prior8 = functional.avg_pool2d(prior4, 2)
        prior16 = functional.avg_pool2d(prior8, 2)
        wide = functional.avg_pool2d(prior16[:, :1], _BLUR, 1, _BLUR // 2, count_include_pad=False)
        x = _joined(shared.s16, self.join16(torch.cat([prior16, wide, recall], 1)))
        x = functional.relu_(self.then16(x))
        coarse = self.aux(x)
        told = torch.cat([prior8, _grown(recall, prior8)], 1)
        x = _joined(shared.s8, self.join8(told) + _grown(self.up8(x), prior8))
        x = functional.relu_(self.then8(x))
        x = _joined(shared.s4, self.join4(prior4) + _grown(self.up4(x), prior4))
        x = functional.relu_(self.then4(x))
        x = _joined(shared.s2, self.join2(prior) + _grown(self.up2(x), prior))
        x = functional.relu_(self.then2(x))
        return self.out(x), coarse


def _joined(shared: Tensor, own: Tensor) -> Tensor:
    """Sum of what N images and what K priors on them say, rectified: (K, C, H, W)."""
    images, each = shared.shape[0], own.shape[0] // shared.shape[0]
    if images == 1 or each == 1:
        return functional.relu_(own + shared)
    return functional.relu_(own.view(images, each, *own.shape[1:]) + shared[:, None]).flatten(0, 1)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
