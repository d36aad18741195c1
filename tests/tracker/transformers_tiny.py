"""Tiny random models of the library's own classes: what a download would give, in a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers as hf
from numpy.typing import NDArray

FAMILIES = ("sam2.1-tiny", "edgetam", "sam3")
SIDE = 64  # pixels of the models' square input
WIDTH = 128  # channels; the memory attention reads memories of 64 and splits wider pointers
PRESENT = 1.5  # what an object's score is about: by itself it may be below 0, then nothing is seen
SPREAD = 4.0  # times the library's random weights: else all logits are nearly equal


def image_model(family: str) -> tuple[Any, Any]:
    """A model for single images and its processor."""
    heads = {
        "sam2.1-tiny": (hf.Sam2Config, hf.Sam2Model, hf.Sam2Processor),
        "edgetam": (hf.EdgeTamConfig, hf.EdgeTamModel, hf.Sam2Processor),
        "sam3": (hf.Sam3TrackerConfig, hf.Sam3TrackerModel, hf.Sam3TrackerProcessor),
    }
    config, model, processor = heads[family]
    made = _random(model, config(**_parts(family)))
    return made, processor(_pictures(family))


def video_model(family: str) -> tuple[Any, Any]:
    """A model for videos and its processor."""
    heads = {
        "sam2.1-tiny": (hf.Sam2VideoConfig, hf.Sam2VideoModel),
        "edgetam": (hf.EdgeTamVideoConfig, hf.EdgeTamVideoModel),
        "sam3": (hf.Sam3TrackerVideoConfig, hf.Sam3TrackerVideoModel),
    }
    config, model = heads[family]
    sizes: dict[str, Any] = {
        "image_size": SIDE,
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": [SIDE // 16] * 2,
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": WIDTH,
        "memory_fuser_num_layers": 1,
        "num_maskmem": 3,
        "max_object_pointers_in_encoder": 5,
    }
    if family == "edgetam":
        sizes |= {
            "memory_attention_mlp_hidden_size": WIDTH,
            "memory_attention_rope_k_sizes": [4, 4],
            "perceiver_resampler_num_latents": 16,
            "perceiver_resampler_num_latents_2d": 16,
            "perceiver_resampler_hidden_size": 64,
            "perceiver_resampler_mlp_intermediate_size": 32,
            "perceiver_resampler_attention_head_dim": 64,
            "perceiver_resampler_num_layers": 1,
        }
    else:
        sizes["memory_attention_feed_forward_hidden_size"] = WIDTH
    made = _random(model, config(**_parts(family, video=True), **sizes))
    processor = hf.Sam3TrackerVideoProcessor if family == "sam3" else hf.Sam2VideoProcessor
    videos = hf.Sam2VideoVideoProcessor(size={"height": SIDE, "width": SIDE})
    return made, processor(_pictures(family), videos)


def picture(seed: int, height: int = 45, width: int = 71) -> NDArray[np.uint8]:
    """A random smooth picture RGB uint8 (H, W, 3) of an odd size."""
    coarse = np.random.default_rng(seed).random((1, 3, 6, 8), dtype=np.float32)
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(coarse), (height, width), mode="bicubic", align_corners=False
    )
    pixels = (fine[0].clamp(0, 1) * 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _random(model: Any, config: Any) -> Any:
    torch.manual_seed(0)
    made = model(config).eval()
    for name, weight in made.named_parameters():
        if weight.dim() > 1 and "norm" not in name:
            weight.data.mul_(SPREAD)
    made.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(PRESENT)
    return made


def _pictures(family: str) -> Any:
    kind = hf.Sam3ImageProcessor if family == "sam3" else hf.Sam2ImageProcessor
    return kind(
        size={"height": SIDE, "width": SIDE},
        mask_size={"height": SIDE // 4, "width": SIDE // 4},
    )


def _parts(family: str, video: bool = False) -> dict[str, Any]:
    eye: Any
    sizes = [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2]
    if family == "sam3":
        eye = hf.Sam3VisionConfig(
            backbone_config=hf.Sam3ViTConfig(
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=SIDE,
                pretrain_image_size=SIDE,
                patch_size=16,
                window_size=2,
                global_attn_indexes=[1],
            ),
            fpn_hidden_size=WIDTH,
            backbone_feature_sizes=sizes,
        )
    else:
        eye = hf.Sam2VisionConfig(
            backbone_config=hf.Sam2HieraDetConfig(
                hidden_size=8,
                image_size=[SIDE, SIDE],
                blocks_per_stage=[1, 1, 2, 1],
                embed_dim_per_stage=[8, 16, 32, 64],
                num_attention_heads_per_stage=[1, 1, 2, 2],
                window_size_per_stage=[4, 2, 2, 2],
                window_positional_embedding_background_size=[2, 2],
                global_attention_blocks=[3],
            ),
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=sizes,
            fpn_hidden_size=WIDTH,
        )
    stem = {"sam2.1-tiny": "Sam2", "edgetam": "EdgeTam", "sam3": "Sam3Tracker"}[family]
    stem += "Video" if video else ""
    prompts = getattr(hf, f"{stem}PromptEncoderConfig")
    decoder = getattr(hf, f"{stem}MaskDecoderConfig")
    return {
        "vision_config": eye,
        "prompt_encoder_config": prompts(hidden_size=WIDTH, image_size=SIDE, patch_size=16),
        "mask_decoder_config": decoder(
            hidden_size=WIDTH, mlp_dim=WIDTH, num_attention_heads=2, iou_head_hidden_dim=WIDTH
        ),
    }
