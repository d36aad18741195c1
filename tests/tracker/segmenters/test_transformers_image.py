"""Promise: SAM 2.1, EdgeTAM and SAM 3 answer clicks, boxes and masks as their library does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errors import InputError
from tests.tracker.transformers_tiny import FAMILIES, SIDE, image_model, picture
from tracker.segmenters.embeddings import Embeddings
from tracker.segmenters.protocol import Answer, Stroke
from tracker.segmenters.transformers_image import TransformersSegmenter

SIZES = ((45, 71), (101, 75), (33, 64))
LOW = SIDE // 4


@pytest.fixture(autouse=True)
def _one_thread(threads: None) -> None:
    torch.set_num_threads(1)


@cache
def tiny(family: str) -> tuple[Any, Any]:
    return image_model(family)


def ours(family: str, image: np.ndarray) -> TransformersSegmenter:
    segmenter = TransformersSegmenter.of(*tiny(family))
    segmenter.set_image(image)
    return segmenter


def theirs(
    family: str,
    image: np.ndarray,
    multimask: bool,
    masks: torch.Tensor | None = None,
    **prompts: Any,
) -> tuple[np.ndarray, float, np.ndarray]:
    """The library's own way, from pixels to the mask at the image's size."""
    model, processor = tiny(family)
    inputs = processor(images=image, return_tensors="pt", **prompts)
    sizes = inputs.pop("original_sizes")
    if masks is not None:
        inputs["input_masks"] = masks
    with torch.inference_mode():
        said = model(**inputs, multimask_output=multimask)
    best = int(said.iou_scores[0, 0].argmax())
    mask = processor.post_process_masks(said.pred_masks, sizes)[0][0, best]
    return mask.numpy(), float(said.iou_scores[0, 0, best]), said.pred_masks[0, 0, best].numpy()


def same(answer: Answer, expected: tuple[np.ndarray, float, np.ndarray]) -> None:
    mask, score, logits = expected
    assert answer.mask.dtype == np.bool_
    assert answer.logits.dtype == np.float32
    np.testing.assert_array_equal(answer.mask, mask)
    np.testing.assert_array_equal(answer.logits, logits.clip(-32, 32))
    assert answer.score == np.clip(score, 0, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_clicks_mean_what_they_mean_to_the_library(family: str, size: tuple[int, int]) -> None:
    image = picture(1, *size)
    segmenter = ours(family, image)
    masks = []
    for x, y in ((10, 30), (60, 8)):
        answer = segmenter.predict(np.array([[x, y]], np.float32), np.array([1]))
        one = theirs(family, image, True, input_points=[[[[x, y]]]], input_labels=[[[1]]])
        same(answer, one)
        masks.append(answer.logits)
    assert (masks[0] != masks[1]).any()
    points = np.array([[10, 30], [20.5, 2.25], [60, 8]], np.float32)
    answer = segmenter.predict(points, np.array([1, 1, 0]))
    prompts = {"input_points": [[points.tolist()]], "input_labels": [[[1, 1, 0]]]}
    same(answer, theirs(family, image, False, **prompts))
    # What is not the object alone is no click on a whole or its part.
    answer = segmenter.predict(points[:1], np.array([0]))
    prompts = {"input_points": [[points[:1].tolist()]], "input_labels": [[[0]]]}
    same(answer, theirs(family, image, False, **prompts))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_mean_what_they_mean_to_the_library(family: str, size: tuple[int, int]) -> None:
    image = picture(2, *size)
    segmenter = ours(family, image)
    box = [4.5, 3, 40, 31]
    same(
        segmenter.predict(box=np.array(box, "f4")),
        theirs(family, image, False, input_boxes=[[box]]),
    )
    click = segmenter.predict(
        np.array([[9, 9]], np.float32), np.array([0]), box=np.array(box, np.float32)
    )
    prompts = {"input_boxes": [[box]], "input_points": [[[[9, 9]]]], "input_labels": [[[0]]]}
    same(click, theirs(family, image, False, **prompts))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_starts_an_answer_and_an_answer_is_taken_back(family: str) -> None:
    image = picture(3)
    segmenter = ours(family, image)
    drawn = np.zeros(image.shape[:2], np.bool_)
    drawn[10:30, 20:41] = True
    share = torch.nn.functional.interpolate(
        torch.from_numpy(drawn).float()[None, None], (LOW, LOW), mode="bilinear", antialias=True
    )
    around = theirs(family, image, False, (2 * share - 1) * 10, input_boxes=[[[20, 10, 40, 29]]])
    answer = segmenter.predict(mask=drawn)
    same(answer, around)
    point = np.array([[25, 12]], np.float32)
    prompts = {"input_points": [[point.tolist()]], "input_labels": [[[1]]]}
    again = segmenter.predict(point, np.array([1]), mask=answer.logits)
    given = torch.from_numpy(answer.logits)[None, None]
    same(again, theirs(family, image, False, given, **prompts))
    assert (again.logits != segmenter.predict(point, np.array([1])).logits).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stroke_is_points_along_it(family: str) -> None:
    image = picture(4)
    segmenter = ours(family, image)
    path = np.array([[5, 5], [5, 40], [60, 40]], np.float32)
    inside, outside = Stroke(path, 4, True), Stroke(path[:1] + 20, 4, False)
    answer = segmenter.predict(strokes=[inside, outside])
    way = np.linspace(0, 90, 8)
    points = [[5 + max(0.0, at - 35), 5 + min(at, 35)] for at in way] + [[25, 25]]
    wanted = segmenter.predict(np.array(points, np.float32), np.array([1] * 8 + [0]))
    np.testing.assert_allclose(answer.logits, wanted.logits, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_encoded_once(family: str, tmp_path: Path, monkeypatch: Any) -> None:
    model, processor = tiny(family)
    calls = []
    encode = type(model).get_image_embeddings

    def counted(self: Any, pixels: torch.Tensor) -> Any:
        calls.append(1)
        return encode(self, pixels)

    monkeypatch.setattr(type(model), "get_image_embeddings", counted)
    image, point, label = picture(5), np.array([[30, 20]], np.float32), np.array([1])
    answers = []
    for _ in range(2):
        segmenter = TransformersSegmenter.of(model, processor, Embeddings(tmp_path))
        segmenter.set_image(image)
        answers += [segmenter.predict(point, label) for _ in range(2)]
    assert len(calls) == 1
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.logits, answers[0].logits)
    segmenter.set_image(picture(6))
    assert len(calls) == 2
    assert (segmenter.predict(point, label).logits != answers[0].logits).any()


def test_what_is_no_prompt_is_refused() -> None:
    segmenter = TransformersSegmenter.of(*tiny(FAMILIES[0]))
    point, label = np.array([[3, 3]], np.float32), np.array([1])
    with pytest.raises(RuntimeError):
        segmenter.predict(point, label)
    segmenter.set_image(picture(1))
    wrong: list[dict[str, Any]] = [
        {},
        {"points": point + 100, "labels": label},
        {"box": np.array([80, 2, 99, 9], np.float32)},
        {"mask": np.ones((5, 5), np.bool_)},
        {"mask": np.ones((5, 5), np.float32)},
    ]
    for prompts in wrong:
        with pytest.raises(InputError):
            segmenter.predict(**prompts)
