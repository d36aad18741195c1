"""SAM 2.1, EdgeTAM and SAM 3 on single images, through the `transformers` library's own classes.

Coordinates, padding and prompts are the library's processor's. SAM 2.1: Ravi et al. 2024; EdgeTAM:
Zhou et al. 2025; SAM 3 (its tracker, which takes clicks, boxes and masks): Carion et al. 2025.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tracker.engines import Power
from tracker.power import device_of
from tracker.propagators.transformers_video.loading import load
from tracker.protocol import Image
from tracker.segmenters.embeddings import Embeddings, content_of, content_of_tensors
from tracker.segmenters.prompts import around, checked, checked_image, places
from tracker.segmenters.protocol import Answer, Mask, Points, Segmenter, Stroke

_SURE = 10.0  # logit of a pixel in a mask that is given; the library's own
_LIMIT = 32.0  # of logits that are given back; the published predictor clamps them there


class TransformersSegmenter(Segmenter):
    """One image at a time, with one of the library's models; on a GPU in bfloat16, else float32.

    A single click on the object is ambiguous, and then the best by expected IoU of three masks is
    taken; all other prompts get the single mask (Kirillov et al. 2023, section 3). Of a stroke, up
    to eight points along its path are given. A mask bool (H, W) that comes alone is given with the
    box around it.
    """

    def __init__(
        self, name: str, folder: Path, device: str = "cpu", cache: Embeddings | None = None
    ) -> None:
        """The model `name` ("sam2.1-...", "edgetam", "sam3") from `folder`, see `loading.load`.

        All segmenters of a process share the model. `device`: "cpu", "cuda", "cuda:0". `cache`:
        where encoded images are kept, None for only the last one. Raises InputError where files
        are missing or of another model.
        """
        loaded = load("image", name, folder, device_of(Power(device=device)))
        self._begin(loaded.model, loaded.processor, cache)

    @classmethod
    def of(
        cls, model: Any, processor: Any, cache: Embeddings | None = None
    ) -> TransformersSegmenter:
        """A segmenter that runs the library's `model`, where it is, with its `processor`."""
        made = cls.__new__(cls)
        made._begin(model, processor, cache)
        return made

    def _begin(self, model: Any, processor: Any, cache: Embeddings | None) -> None:
        self._model = model
        self._processor = processor
        self._cache = cache
        self._device = torch.device(model.device)
        self._name = ""
        if cache is not None:
            content = content_of_tensors(model.state_dict())
            self._name = f"{type(model).__name__} {self._device.type} {content}"
        side = model.prompt_encoder.mask_input_size
        self._logits_size = int(side[0]), int(side[1])
        self._seen: list[Tensor] | None = None
        self._size = (0, 0)

    def set_image(self, image: Image) -> None:
        """Encode `image`, RGB uint8 (H, W, 3), or take from the cache what was encoded before."""
        image = checked_image(image)
        if self._cache is None:
            levels = self._encoded(image)
        else:
            levels = self._cache.of(content_of(image), self._name, lambda: self._encoded(image))
        self._seen = [levels[str(level)].to(self._device) for level in range(len(levels))]
        self._size = image.shape[0], image.shape[1]

    def predict(
        self,
        points: Points | None = None,
        labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
        mask: NDArray[np.float32] | Mask | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> Answer:
        """As `Segmenter.predict`; logits are float32 at a quarter of the model's square input.

        Raises InputError for prompts that do not fit the image, RuntimeError before `set_image`.
        """
        if self._seen is None:
            raise RuntimeError("predict before set_image")
        prompts = checked(self._size, self._logits_size, points, labels, box, mask, strokes)
        points, inside = places(prompts, self._size)
        box, given = prompts.box, prompts.logits
        if prompts.mask is not None:
            given = self._as_logits(prompts.mask)
            if not points.size and box is None:
                box = around(prompts.mask)
        single_click = len(points) == 1 and bool(inside[0]) and box is None and given is None
        with self._at_work():
            said = self._model(
                image_embeddings=self._seen,
                multimask_output=single_click,
                **self._encoded_prompts(points, inside, box, given),
            )
            scores = said.iou_scores[0, 0].float()
            best = int(scores.argmax())
            logits = said.pred_masks[:, 0, best : best + 1].float()
            grown = self._processor.post_process_masks([logits], [self._size], binarize=False)[0]
        return Answer(
            mask=(grown[0, 0] > 0).cpu().numpy(),
            score=float(scores[best].clamp(0, 1)),
            logits=logits[0, 0].clamp(-_LIMIT, _LIMIT).cpu().numpy(),
        )

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        gpu = self._device.type == "cuda"
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=gpu),
        ):
            yield

    def _encoded(self, image: Image) -> Mapping[str, Tensor]:
        with self._at_work():
            pixels = self._processor(images=image, return_tensors="pt")["pixel_values"]
            levels = self._model.get_image_embeddings(pixels.to(self._device))
        return {str(level): seen for level, seen in enumerate(levels)}

    def _encoded_prompts(
        self,
        places: Points,
        inside: NDArray[np.bool_],
        box: NDArray[np.float32] | None,
        logits: NDArray[np.float32] | None,
    ) -> dict[str, Tensor]:
        """Prompts as the model takes them: in its own pixels, of one image and one object."""
        prompts: dict[str, Tensor] = {}
        if logits is not None:
            prompts["input_masks"] = torch.from_numpy(logits)[None, None].to(self._device)
        if places.size or box is not None:
            encoded = self._processor(
                input_points=[[places.tolist()]] if places.size else None,
                input_labels=[[inside.astype(int).tolist()]] if places.size else None,
                input_boxes=None if box is None else [[box.tolist()]],
                original_sizes=[list(self._size)],
                return_tensors="pt",
            )
            for key in ("input_points", "input_labels", "input_boxes"):
                if key in encoded:
                    prompts[key] = encoded[key].to(self._device)
        return prompts

    def _as_logits(self, mask: Mask) -> NDArray[np.float32]:
        """A mask (H, W) as logits (h, w): shrunk as the image is, whatever its proportions."""
        drawn = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
        share = torch.nn.functional.interpolate(
            drawn, self._logits_size, mode="bilinear", antialias=True
        )
        logits: NDArray[np.float32] = ((2 * share[0, 0] - 1) * _SURE).numpy()
        return logits
