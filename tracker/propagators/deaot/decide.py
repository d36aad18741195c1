"""From the logits of groups to one label map, and how sure each object is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_LEAST = 1e-5  # probabilities of several groups are compared no closer to 0 and 1 than this


def decided(logits: Sequence[Tensor], size: tuple[int, int], *, corners: bool) -> Tensor:
    """The label map of a frame, int32 (H, W): 0, or the number of the object that has the pixel.

    `logits`: of each group (1, objects + 1, h, w), background first; objects are numbered group
    after group. Several groups are merged as in section 9 of the published tool: a pixel is
    background to the product of what the groups say; the likeliest wins, on a tie the lowest.
    Groups are taken one by one, so that memory does not grow with them.
    """

    def grown(group: Tensor) -> Tensor:
        return functional.interpolate(
            group.float(), size=size, mode="bilinear", align_corners=corners
        )[0]

    if len(logits) == 1:
        return _first_largest(grown(logits[0]))[1]
    nobody = best = labels = None
    before = 0
    for group in logits:
        chance = grown(group).softmax(0)
        nobody = chance[0] if nobody is None else nobody * chance[0]
        likely, which = _first_largest(chance[1:].clamp(_LEAST, 1 - _LEAST))
        which = which + (before + 1)
        before += len(chance) - 1
        if best is None or labels is None:
            best, labels = likely, which
        else:
            labels = torch.where(likely > best, which, labels)
            best = torch.maximum(likely, best)
    assert nobody is not None
    assert best is not None
    assert labels is not None
    return labels.masked_fill_(best <= nobody.clamp(_LEAST, 1 - _LEAST), 0)


def sureness(logits: Sequence[Tensor]) -> Tensor:
    """How sure each object is, float32 (N,) in [0, 1], judged at the resolution of the logits.

    Of one that has pixels: the expected IoU of its mask with the one that the logits speak of. Of
    one that has none: how sure it is that it is absent.
    """
    chances = [group[0].float().softmax(0) for group in logits]
    nobody = chances[0][0]
    for other in chances[1:]:
        nobody = nobody * other[0]
    each = torch.cat([nobody[None], *(chance[1:] for chance in chances)])
    # Plane by plane: at once it would take one more copy of everything, in numbers twice as wide.
    largest, which = _first_largest(each)
    count = torch.stack([(which == index).sum() for index in range(len(each))])
    own = torch.stack([largest.where(which == index, 0).sum() for index in range(len(each))])
    overlap = own / (count + each.sum((1, 2)) - own).clamp(min=1.0)
    return torch.where(count > 0, overlap, 1 - each.amax((1, 2)))[1:]


def _first_largest(planes: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of (K, H, W) at each pixel, and which it is, int32; on a tie the first.

    Plane by plane: torch's arg-max over the first axis is several times slower on a CPU.
    """
    best = planes[0].clone()
    which = torch.zeros(best.shape, dtype=torch.int32, device=best.device)
    for index in range(1, len(planes)):
        larger = planes[index] > best
        which.masked_fill_(larger, index)
        torch.maximum(best, planes[index], out=best)
    return best, which
