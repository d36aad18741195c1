"""The six published models: which encoder, how many layers, how coordinates are counted.

Yang and Yang, "Decoupling Features in Hierarchical Propagation for Video Object Segmentation"
(NeurIPS 2022), tables of the paper and of its model zoo.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from tracker.propagators.deaot.encoder import Encoder
from tracker.propagators.deaot.mobilenet import MobileNetV2
from tracker.propagators.deaot.resnet import ResNet50
from tracker.propagators.deaot.swin import SwinB

NEVER = 9999  # frames between long-term memories, for a model that keeps the key frame alone


@dataclass(frozen=True, slots=True)
class Variant:
    """What tells one model from another.

    `encoder`: the class that makes the image features. `layers`: of gated propagation. `corners`:
    whether sizes are 16 n + 1 and resampling keeps the corners (else sizes are 16 n). `gap`: frames
    from one long-term memory to the next, as the model is meant to be used.
    """

    name: str
    encoder: type[Encoder]
    layers: int
    corners: bool
    gap: int


_ALL = (
    Variant("DeAOTT", MobileNetV2, 1, True, NEVER),
    Variant("DeAOTS", MobileNetV2, 2, True, NEVER),
    Variant("DeAOTB", MobileNetV2, 3, True, NEVER),
    Variant("DeAOTL", MobileNetV2, 3, True, 5),
    Variant("R50_DeAOTL", ResNet50, 3, True, 5),
    Variant("SwinB_DeAOTL", SwinB, 3, False, 5),
)
VARIANTS = MappingProxyType({variant.name: variant for variant in _ALL})
