"""Segment Anything, run by its authors' own package.

Kirillov et al., "Segment Anything" (arXiv 2304.02643); the package `segment_anything`
(https://github.com/facebookresearch/segment-anything). Nothing of the model is built here: this
fits our prompts to the package's `SamPredictor`, reads weights, and keeps what the encoder found.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from torch.nn import functional

from errors import InputError
from tracker.once import once
from tracker.protocol import Image
from tracker.segmenters.embeddings import Embeddings, content_of, content_of_tensors
from tracker.segmenters.prompts import around, checked, checked_image, places
from tracker.segmenters.protocol import Answer, Mask, Points, Segmenter, Stroke

Variant = Literal["vit_b", "vit_l", "vit_h"]

_SURE = (
    10.0  # logits of a mask's inside; the size that the authors' SAM 2 gives a mask drawn by hand
)


class SamSegmenter(Segmenter):
    """One image at a time, in the coordinates that the package's predictor gives to prompts.

    A single click on the object is ambiguous, and then the best by predicted quality of three
    masks is taken; all other prompts get the single mask, as the package's predictor recommends.
    Of a stroke, up to eight points along its path are given, at least 1/64 of the image's longest
    side apart. A mask bool (H, W) that comes alone is given with the box around it, since the model
    was never trained with a mask alone.
    """

    def __init__(
        self, variant: Variant, weights: Path, device: str, cache: Embeddings | None = None
    ) -> None:
        """Read `weights` (a file of the package's authors, or of the same make) for `variant`.

        A process reads a file once; all its segmenters share the model.
        `device`: "cpu", "cuda", "cuda:0". `cache`: where encoded images are kept, None for only the
        last one. Raises InputError where the file is missing, damaged or of another model.
        """
        stamp = (found.st_size, found.st_mtime_ns) if (found := _status(weights)) else (0, 0)
        self._begin(_shared(variant, weights, stamp, device), device, cache)

    @classmethod
    def of(cls, model: Sam, device: str = "cpu", cache: Embeddings | None = None) -> SamSegmenter:
        """A segmenter that runs `model`, which it moves to `device` and sets to evaluation."""
        made = cls.__new__(cls)
        made._begin(model, device, cache)
        return made

    def _begin(self, model: Sam, device: str, cache: Embeddings | None) -> None:
        self._model = model.to(device).eval().requires_grad_(requires_grad=False)
        self._predictor = SamPredictor(self._model)
        self._cache = cache
        self._name = "" if cache is None else "sam " + _encoder_content(self._model)
        side = self._model.prompt_encoder.mask_input_size
        self._logits_size = int(side[0]), int(side[1])

    def set_image(self, image: Image) -> None:
        """Encode `image`, RGB uint8 (H, W, 3), or take from the cache what was encoded before.

        Raises InputError where an image is so narrow that nothing is left at the model's size.
        """
        image = checked_image(image)
        size = image.shape[0], image.shape[1]
        side = self._model.image_encoder.img_size
        shown = self._predictor.transform.get_preprocess_shape(*size, side)
        if min(shown) < 1:
            raise InputError(
                f"An image of {size[1]} x {size[0]} pixels is too narrow for SAM: cut it to less "
                f"than {2 * side} times as long as wide."
            )
        self._predictor.reset_image()
        if self._cache is None:
            self._predictor.set_image(image)
            return
        kept = self._cache.of(content_of(image), self._name, lambda: self._encoded(image))
        # What the predictor's own `set_torch_image` leaves behind, less the encoding.
        self._predictor.original_size = size
        self._predictor.input_size = shown
        self._predictor.features = kept["image"].to(self._model.device)
        self._predictor.is_image_set = True

    def predict(
        self,
        points: Points | None = None,
        labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
        mask: NDArray[np.float32] | Mask | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> Answer:
        """As `Segmenter.predict`; logits are float32 (256, 256) for the padded square.

        Raises InputError for prompts that do not fit the image, RuntimeError before `set_image`.
        """
        if not self._predictor.is_image_set:
            raise RuntimeError("predict before set_image")
        size = self._predictor.original_size
        prompts = checked(size, self._logits_size, points, labels, box, mask, strokes)
        points, inside = places(prompts, size)
        given, box = prompts.logits, prompts.box
        if prompts.mask is not None:
            given = self._as_logits(prompts.mask)
            if not points.size and box is None:
                box = around(prompts.mask)
        single_click = len(points) == 1 and bool(inside[0]) and box is None and given is None
        masks, scores, logits = self._predictor.predict(
            point_coords=points if points.size else None,
            point_labels=inside.astype(np.int64) if points.size else None,
            box=box,
            mask_input=None if given is None else given[None],
            multimask_output=single_click,
        )
        best = int(np.argmax(scores))
        return Answer(
            mask=masks[best],
            score=float(np.clip(scores[best], 0, 1)),
            logits=logits[best],
        )

    def _encoded(self, image: Image) -> dict[str, torch.Tensor]:
        self._predictor.set_image(image)
        return {"image": self._predictor.features}

    def _as_logits(self, mask: Mask) -> NDArray[np.float32]:
        """A mask (H, W) as logits (h, w): scaled as the image is, padded, then shrunk."""
        side = self._model.image_encoder.img_size
        high, wide = self._predictor.input_size
        drawn = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
        drawn = functional.interpolate(drawn, (high, wide), mode="bilinear", antialias=True)
        drawn = functional.pad(drawn, (0, side - wide, 0, side - high))
        share = functional.interpolate(drawn, self._logits_size, mode="area")[0, 0]
        logits: NDArray[np.float32] = ((2 * share - 1) * _SURE).clamp(-_SURE, _SURE).numpy()
        return logits


def variant_of(name: str) -> Variant:
    """The variant that a segmenter's name means: "sam-vit-b" is "vit_b".

    Raises InputError for a name that means none.
    """
    for variant in get_args(Variant):
        if name == "sam-" + variant.replace("_", "-"):
            found: Variant = variant
            return found
    known = ", ".join("sam-" + variant.replace("_", "-") for variant in get_args(Variant))
    raise InputError(f"There is no segmenter named {name!r}: use one of {known}.")


@once(most=2)
def _shared(variant: Variant, weights: Path, stamp: tuple[int, int], device: str) -> Sam:
    return load(variant, weights).to(device)


def _status(path: Path) -> os.stat_result | None:
    return path.stat() if path.exists() else None


def load(variant: Variant, weights: Path) -> Sam:
    """The model `variant` with the numbers in the file `weights`, float32 on the CPU.

    Raises InputError where there is no such variant, or the file is missing, damaged, or holds
    other tensors than the variant has. Nothing that a file may carry besides tensors is run.
    """
    if variant not in get_args(Variant):
        raise InputError(f"There is no SAM {variant!r}: use one of {', '.join(get_args(Variant))}.")
    tensors = _read(weights)
    # Made without memory, since every number comes from the file.
    with torch.device("meta"):
        bare = sam_model_registry[variant](checkpoint=None)
    _check(weights, variant, tensors, bare.state_dict())
    # Made anew from its parts for the mean and deviation of pixels, which are in no file.
    model = Sam(
        image_encoder=bare.image_encoder,
        prompt_encoder=bare.prompt_encoder,
        mask_decoder=bare.mask_decoder,
    )
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.float()


def _read(weights: Path) -> dict[str, torch.Tensor]:
    if not weights.is_file():
        raise InputError(f"There is no file {weights}: put the weights of SAM there.")
    try:
        found: Any = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes of a reader
        raise InputError(
            f"{weights} cannot be read as weights (damaged, or no such file): download it again."
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        raise InputError(
            f"{weights} holds something else than named tensors: give a file of SAM's weights."
        )
    return found


def _check(
    weights: Path,
    variant: str,
    found: dict[str, torch.Tensor],
    wanted: dict[str, torch.Tensor],
) -> None:
    faults = [
        _some("lacks", [name for name in wanted if name not in found]),
        _some("has beyond it", [name for name in found if name not in wanted]),
        _some(
            "has in another size",
            [n for n, t in wanted.items() if n in found and found[n].shape != t.shape],
        ),
    ]
    said = "; it ".join(fault for fault in faults if fault)
    if said:
        raise InputError(
            f"{weights} is no file for SAM {variant}: it {said}; name the file of this model."
        )


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{what} {names[0]}{more}"


def _encoder_content(model: Sam) -> str:
    """What tells one encoder from another: its numbers, and how pixels are brought to it."""
    seen = {f"encoder.{name}": value for name, value in model.image_encoder.state_dict().items()}
    return content_of_tensors({**seen, "mean": model.pixel_mean, "std": model.pixel_std})
