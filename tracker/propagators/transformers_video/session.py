"""The library's inference session in streaming mode: frames one by one, and only what is needed.

The library keeps every frame and all outputs. What a later frame looks at is bounded: the masks of
`num_maskmem` - 1 frames and the pointers of `max_object_pointers_in_encoder` - 1 frames before it,
and the frames where masks were given (Ravi et al. 2024, section 4). All else is dropped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tracker.protocol import Image

Outputs = dict[int, dict[str, dict[str, Any] | None]]
"""Of one frame, by the library's object index: its output as conditioning frame and as another."""

_KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")
_MEMORIES = ("maskmem_features", "maskmem_pos_enc")


class Session:
    """Objects followed by one model; frames are numbered by the caller, upwards.

    `model`, `processor`: of one of the library's video families. `keep_all`: forget nothing (a
    yardstick for tests). `offload`: keep memories in main memory where the model is on a GPU; the
    library fetches them from there. (Its own option leaves out just these, and moves what is
    dropped here anyway.)

    `look`, `give` and `click` may be called again where they failed for want of memory.
    """

    def __init__(
        self, model: Any, processor: Any, *, keep_all: bool = False, offload: bool = False
    ) -> None:
        self._model = model
        self._processor = processor
        self._device = torch.device(model.device)
        self._keep_all = keep_all
        self._offload = offload
        self._memories = int(model.config.num_maskmem) - 1
        self._reach = max(self._memories, int(model.config.max_object_pointers_in_encoder) - 1)
        self._session = processor.init_video_session(
            inference_device=self._device, dtype=torch.float32
        )

    @property
    def numbers(self) -> list[int]:
        """The objects that are followed, in the order in which they were given."""
        return list(self._session.obj_ids)

    def pixels(self, image: Image) -> Tensor:
        """`image` as the model takes it: float32 (1, 3, S, S)."""
        made: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"]
        return made

    def give(self, frame: int, pixels: Tensor, masks: Mapping[int, NDArray[np.bool_]]) -> None:
        """Take `masks` (bool (H, W) by object number) for the truth at `frame`.

        Objects that are followed and not in `masks` are gone. New numbers are followed from here.
        """
        shape = next(iter(masks.values())).shape
        given = [*self.numbers, *(number for number in masks if number not in self.numbers)]
        for number in given:
            mask = masks[number] if number in masks else np.zeros(shape, np.bool_)
            self._processor.add_inputs_to_inference_session(
                self._session, frame, number, input_masks=mask
            )
        # One call per object, so that not all masks lie in memory at their full size at once.
        self._session.obj_with_new_inputs = given
        self.look(frame, pixels)

    def look(self, frame: int, pixels: Tensor) -> None:
        """Follow all objects to `frame`."""
        with _mode(self._device):
            self._model(self._session, frame_idx=frame, frame=pixels)
        self._forget(frame)

    def click(
        self,
        frame: int,
        pixels: Tensor,
        number: int,
        points: NDArray[np.float32],
        labels: NDArray[np.int64],
        size: tuple[int, int],
    ) -> tuple[Tensor, float]:
        """What object `number` is at `frame` when told by clicks; see `answer`. Changes nothing."""
        before = self.outputs(frame)
        self._processor.add_inputs_to_inference_session(
            self._session,
            frame,
            number,
            input_points=[[points.tolist()]],
            input_labels=[[labels.tolist()]],
            original_size=size,
        )
        try:
            self.look(frame, pixels)
            return self.answer(frame, number)
        finally:
            self.put_back(frame, before)

    def answer(self, frame: int, number: int) -> tuple[Tensor, float]:
        """Logits float32 (1, 1, h, w) at the model's resolution, and the object's score (logit).

        A score above 0 means that the object is in the frame.
        """
        index = self._session.obj_id_to_idx(number)
        for conditioning in (True, False):
            masks = self._session.get_output(index, frame, "pred_masks", conditioning)
            if masks is not None:
                score = self._session.get_output(index, frame, "object_score_logits", conditioning)
                return masks.float(), float(score.float().reshape(()))
        raise RuntimeError(f"object {number} was not followed to frame {frame}")

    def upscale(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (1, 1, h, w) at the frame's size: float32 (H, W)."""
        grown: Tensor = self._processor.post_process_masks([logits], [size], binarize=False)[0]
        return grown[0, 0]

    def outputs(self, frame: int) -> Outputs:
        """What is remembered of `frame` now, to be put back."""
        return {
            index: {kind: kinds[kind].get(frame) for kind in _KINDS}
            for index, kinds in self._session.output_dict_per_obj.items()
        }

    def put_back(self, frame: int, outputs: Outputs) -> None:
        """Remember of `frame` what was remembered when `outputs` was taken."""
        for index, kinds in self._session.output_dict_per_obj.items():
            for kind in _KINDS:
                entry = outputs[index][kind]
                if entry is None:
                    kinds[kind].pop(frame, None)
                else:
                    kinds[kind][frame] = entry

    def shrink(self, model: Any, *, offload: bool) -> None:
        """Go on with what was remembered, with `model` on another device, or with `offload`.

        On a processor nothing is computed in halves, so that what a GPU remembered in them is
        brought to float32.
        """
        session = self._session
        self._model, self._offload = model, offload
        self._device = torch.device(model.device)
        session.inference_device = session.inference_state_device = self._device
        session.video_storage_device = self._device
        session.cache.inference_device = session.cache.inference_state_device = self._device
        session.cache.clear_all()
        for kinds in session.output_dict_per_obj.values():
            for outputs in kinds.values():
                for entry in outputs.values():
                    for key, value in entry.items():
                        if isinstance(value, Tensor):
                            entry[key] = self._placed(key, value)

    def _placed(self, key: str, value: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return value.to("cpu", torch.float32 if value.is_floating_point() else value.dtype)
        return value.to("cpu") if self._offload and key in _MEMORIES else value

    @property
    def held(self) -> int:
        """Bytes of all tensors that the session keeps."""
        session = self._session
        roots = (
            session.output_dict_per_obj,
            session.processed_frames,
            session.point_inputs_per_obj,
            session.mask_inputs_per_obj,
            session.cache._vision_features,
        )
        return sum(tensor.untyped_storage().nbytes() for tensor in _tensors(roots))

    def _forget(self, frame: int) -> None:
        """Drop what no frame from `frame` on looks at."""
        session = self._session
        if self._keep_all:
            return
        session.processed_frames.clear()
        for inputs in (session.point_inputs_per_obj, session.mask_inputs_per_obj):
            for of_object in inputs.values():
                of_object.clear()
        for index, kinds in session.output_dict_per_obj.items():
            tracked = session.frames_tracked_per_obj[index]
            for old in [past for past in tracked if past != frame]:
                del tracked[old]
            followed = kinds["non_cond_frame_outputs"]
            for old in [past for past in followed if past < frame - self._reach]:
                del followed[old]
            for past, entry in followed.items():
                self._trim(entry, past < frame, past < frame - self._memories)
            for past, entry in kinds["cond_frame_outputs"].items():
                self._trim(entry, past < frame, False)

    def _trim(self, entry: dict[str, Any], past: bool, pointer_only: bool) -> None:
        entry.pop("high_res_masks", None)  # the memory has been made of them
        if past:
            entry.pop("pred_masks", None)
        for key in _MEMORIES:
            if pointer_only:
                entry.pop(key, None)
            elif self._offload and entry.get(key) is not None:
                entry[key] = entry[key].to("cpu")


@contextmanager
def _mode(device: torch.device) -> Iterator[None]:
    """No gradients; bfloat16 where a GPU multiplies it."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"),
    ):
        yield


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensors(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _tensors(value)
