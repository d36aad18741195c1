"""The whole network, with the names and shapes of the published files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.deaot.decoder import MOST, Decoder
from tracker.propagators.deaot.encoder import Maps, NormedConv
from tracker.propagators.deaot.propagation import WIDTH, Transformer
from tracker.propagators.deaot.variants import Variant


class DeAOT(nn.Module):
    """DeAOT for inference; see `Tracker` for how its parts are used."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.encoder = variant.encoder()
        self.encoder_projector = nn.Conv2d(self.encoder.widths[3], WIDTH, 1)
        self.LSTT = Transformer(variant.layers)
        self.decoder = Decoder(self.encoder.widths, corners=variant.corners)
        kernel = 17 if variant.corners else 16
        self.patch_wise_id_bank = nn.Conv2d(
            MOST + 1, WIDTH, kernel, 16, padding=8 if variant.corners else 0
        )
        self.id_norm = nn.LayerNorm(WIDTH)

    def prepare(self, *, compiled: bool = False) -> None:
        """Make ready to run, once weights are loaded and on their device.

        `compiled`: translate encoder and decoder for the sizes that they meet, which takes about a
        minute at the first frame of each size and needs a C++ compiler on a processor.
        """
        self.eval().requires_grad_(requires_grad=False)
        self.to(memory_format=torch.channels_last)
        for module in self.modules():
            if isinstance(module, NormedConv):
                module.fold()
        if compiled:
            self.encoder.compile(dynamic=False)
            self.decoder.compile(dynamic=False)

    def encode(self, image: Tensor) -> tuple[Maps, Tensor]:
        """The maps of images, float (I, 3, H, W), and their tokens (I, N, 256)."""
        maps = self.encoder(image)
        return maps, self.encoder_projector(maps.last).flatten(2).transpose(1, 2)

    def identify(self, masks: Tensor) -> Tensor:
        """Who is where: label maps of groups, float (B, H, W) of 0 .. 10 -> (B, N, 256).

        Labels are one-hot channels to the network. Those above the largest that occurs are left
        out on a processor: they add exactly nothing. A graphics card would have to be waited for.
        """
        bank = self.patch_wise_id_bank
        objects = int(masks.max()) if masks.device.type == "cpu" else MOST
        labels = torch.arange(objects + 1, device=masks.device, dtype=masks.dtype)
        planes = (masks[:, None] == labels[:, None, None]).to(bank.weight.dtype)
        weight = bank.weight[:, : objects + 1]
        who = functional.conv2d(planes, weight, bank.bias, bank.stride, bank.padding)
        return self.id_norm(who.flatten(2).transpose(1, 2))  # type: ignore[no-any-return]
