"""A Segment Anything of the real classes that is small enough for tests, and pictures for it."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from tests.tracker.scenes import texture

SIDE = 128  # pixels of the square that the model sees
LOGITS = SIDE // 4
SIZES = ((75, 101), (101, 75), (333, 57), (40, 40), (129, 257))


def tiny_sam(seed: int = 0) -> Sam:
    """Random weights, equal for equal seeds."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sam(
            image_encoder=ImageEncoderViT(
                img_size=SIDE,
                patch_size=16,
                embed_dim=16,
                depth=2,
                num_heads=2,
                out_chans=32,
                use_rel_pos=True,
                window_size=4,
                global_attn_indexes=(1,),
            ),
            prompt_encoder=PromptEncoder(
                embed_dim=32,
                image_embedding_size=(SIDE // 16, SIDE // 16),
                input_image_size=(SIDE, SIDE),
                mask_in_chans=4,
            ),
            mask_decoder=MaskDecoder(
                transformer_dim=32,
                transformer=TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=32, num_heads=2),
            ),
        )
    return model.eval()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A textured disc and a textured bar on textured ground."""
    image = texture(height, width, seed)
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height / 2) ** 2 + (columns - width / 3) ** 2 < (min(height, width) / 5) ** 2
    bar = (abs(rows - height / 2) < height / 4) & (abs(columns - 0.8 * width) < width / 12)
    image[disc] = texture(height, width, seed + 1, (210, 60, 50))[disc]
    image[bar] = texture(height, width, seed + 2, (60, 80, 210))[bar]
    return image
