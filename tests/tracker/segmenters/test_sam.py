"""Promise: SAM answers as its authors' package does, for every prompt and size of image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from torch.nn import functional

from errors import InputError
from tests.tracker.segmenters.tiny import LOGITS, SIDE, SIZES, picture, tiny_sam
from tracker.segmenters.protocol import Answer, Stroke
from tracker.segmenters.sam import SamSegmenter, load


@pytest.fixture(autouse=True)
def _one_thread(threads: None) -> None:
    torch.set_num_threads(1)


def ours(image: np.ndarray) -> SamSegmenter:
    segmenter = SamSegmenter.of(tiny_sam())
    segmenter.set_image(image)
    return segmenter


def theirs(image: np.ndarray) -> SamPredictor:
    predictor = SamPredictor(tiny_sam())
    predictor.set_image(image)
    return predictor


def places(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles of the picture's two objects."""
    height, width = image.shape[:2]
    return (
        np.array([[width / 3, height / 2]], dtype=np.float32),
        np.array([[0.8 * width, height / 2]], dtype=np.float32),
    )


def same(answer: Answer, masks: np.ndarray, scores: np.ndarray, logits: np.ndarray) -> None:
    best = int(np.argmax(scores))
    assert answer.mask.dtype == np.bool_
    np.testing.assert_array_equal(answer.mask, masks[best])
    np.testing.assert_array_equal(answer.logits, logits[best])
    assert answer.score == pytest.approx(float(np.clip(scores[best], 0, 1)))


@pytest.mark.parametrize("size", SIZES)
def test_a_click_gives_the_best_of_three_masks_on_either_object(size: tuple[int, int]) -> None:
    image = picture(*size)
    answers = []
    for place in places(image):
        answer = ours(image).predict(place, np.array([1]))
        same(answer, *theirs(image).predict(place, np.array([1]), multimask_output=True))
        assert answer.mask.shape == size
        assert answer.logits.shape == (LOGITS, LOGITS)
        answers.append(answer)
    assert not np.array_equal(answers[0].logits, answers[1].logits)


@pytest.mark.parametrize("size", SIZES)
def test_several_points_a_box_and_earlier_logits_give_the_single_mask(
    size: tuple[int, int],
) -> None:
    image = picture(*size)
    segmenter, predictor = ours(image), theirs(image)
    one, other = places(image)
    points, labels = np.concatenate([one, other]), np.array([1, 0])
    box = np.array([size[1] * 0.1, size[0] * 0.2, size[1] * 0.6, size[0] * 0.8], dtype=np.float32)
    first = segmenter.predict(points, labels)
    same(first, *predictor.predict(points, labels, multimask_output=False))
    same(segmenter.predict(box=box), *predictor.predict(box=box, multimask_output=False))
    same(
        segmenter.predict(points, labels, box, first.logits),
        *predictor.predict(points, labels, box, first.logits[None], multimask_output=False),
    )
    same(
        segmenter.predict(one, np.array([1]), mask=first.logits),
        *predictor.predict(one, np.array([1]), None, first.logits[None], multimask_output=False),
    )


@pytest.mark.parametrize("size", SIZES)
def test_answers_equal_those_of_the_whole_model_in_one_call(size: tuple[int, int]) -> None:
    # `Sam.forward` is the package's second way, which pads and scales without the predictor.
    image, model = picture(*size), tiny_sam()
    resize = ResizeLongestSide(SIDE)
    _, place = places(image)
    shown = torch.as_tensor(resize.apply_image(image)).permute(2, 0, 1).contiguous()
    box = np.array([3, 5, 31, 37], dtype=np.float32)
    found = model(
        [
            {
                "image": shown,
                "original_size": size,
                "point_coords": torch.as_tensor(
                    resize.apply_coords(place, size), dtype=torch.float
                )[None],
                "point_labels": torch.ones(1, 1),
                "boxes": torch.as_tensor(resize.apply_boxes(box[None], size), dtype=torch.float),
            }
        ],
        multimask_output=False,
    )[0]
    answer = ours(image).predict(place, np.array([1]), box)
    np.testing.assert_array_equal(answer.mask, found["masks"][0, 0].numpy())
    np.testing.assert_allclose(
        answer.logits, found["low_res_logits"][0, 0].numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_drawn_mask_lies_where_the_models_own_masks_would(size: tuple[int, int]) -> None:
    image, model = picture(*size), tiny_sam()
    drawn = np.zeros(size, dtype=bool)
    drawn[size[0] // 4 : size[0] // 2, size[1] // 5 : size[1] // 2] = True
    seen: list[torch.Tensor] = []
    hook = model.prompt_encoder.mask_downscaling.register_forward_hook(
        lambda _, given, __: seen.append(given[0])
    )
    segmenter = SamSegmenter.of(model)
    segmenter.set_image(image)
    segmenter.predict(places(image)[0], np.array([1]), mask=drawn)
    hook.remove()
    # The package's way back from logits to the image must lead to the mask that was drawn.
    shown = ResizeLongestSide.get_preprocess_shape(*size, SIDE)
    back = model.postprocess_masks(seen[0], shown, size)[0, 0].numpy() > 0
    assert seen[0].shape == (1, 1, LOGITS, LOGITS)
    assert float(seen[0].abs().max()) == 10
    assert np.count_nonzero(back & drawn) / np.count_nonzero(back | drawn) > 0.85
    beyond = functional.interpolate(seen[0], (SIDE, SIDE))[0, 0].numpy()
    assert (beyond[shown[0] + 4 :] == -10).all()
    assert (beyond[:, shown[1] + 4 :] == -10).all()


def test_a_drawn_mask_alone_comes_with_its_box() -> None:
    image = picture(75, 101)
    drawn = np.zeros((75, 101), dtype=bool)
    drawn[20:50, 30:61] = True
    segmenter = ours(image)
    box = np.array([30, 20, 60, 49], dtype=np.float32)
    alone, boxed = segmenter.predict(mask=drawn), segmenter.predict(box=box, mask=drawn)
    np.testing.assert_array_equal(alone.logits, boxed.logits)


def test_a_stroke_is_points_along_its_path() -> None:
    image = picture(96, 128)
    segmenter = ours(image)
    path = np.array([[10, 10], [10, 38], [45, 38]], dtype=np.float32)  # 63 pixels
    stroke = Stroke(path, 6, inside=True)
    along = np.array(
        [[10, 10], [10, 19], [10, 28], [10, 37], [18, 38], [27, 38], [36, 38], [45, 38]]
    )
    answer = segmenter.predict(strokes=[stroke])
    points = segmenter.predict(along.astype(np.float32), np.ones(8, dtype=np.int64))
    np.testing.assert_allclose(answer.logits, points.logits, atol=1e-5)
    erased = segmenter.predict(strokes=[stroke, Stroke(path + 40, 6, inside=False)])
    assert not np.array_equal(erased.logits, answer.logits)
    dot = segmenter.predict(strokes=[Stroke(path[:1], 6, inside=True)])
    click = segmenter.predict(path[:1], np.array([1]))
    np.testing.assert_array_equal(dot.mask, click.mask)


def test_prompts_that_cannot_be_meant_are_refused_with_a_sentence() -> None:
    segmenter = ours(picture(75, 101))
    one = np.array([1])
    far = Stroke(np.array([[500.0, 5.0]], dtype=np.float32), 3, inside=True)
    thin = Stroke(np.array([[5.0, 5.0]], dtype=np.float32), 0, inside=True)

    def refused(match: str, *args: object, **prompts: object) -> None:
        with pytest.raises(InputError, match=match):
            segmenter.predict(*args, **prompts)  # type: ignore[arg-type]

    refused("Nothing says")
    refused("Nothing says", np.zeros((0, 2), dtype=np.float32), np.zeros(0))
    refused("outside of the image", np.array([[101.0, 5.0]]), one)
    refused("outside of the image", np.array([[np.nan, 5.0]]), one)
    refused("one label for each", np.array([[5.0, 5.0]]))
    refused("neither 1", np.array([[5.0, 5.0]]), np.array([2]))
    refused("is empty", box=np.array([9, 5, 4, 7]))
    refused("lies outside", box=np.array([200, 5, 240, 7]))
    refused("four numbers", box=np.array([np.inf, 5, 240, 7]))
    refused("not \\(75, 101\\)", mask=np.ones((75, 100), dtype=bool))
    refused("no pixel", mask=np.zeros((75, 101), dtype=bool))
    refused("earlier logits", mask=np.zeros((9, 9), dtype=np.float32))
    refused("stroke from", strokes=[far])
    refused("wide", strokes=[thin])


def test_what_is_no_image_is_refused_and_no_image_is_our_fault() -> None:
    segmenter = SamSegmenter.of(tiny_sam())
    with pytest.raises(RuntimeError, match="set_image"):
        segmenter.predict(np.array([[1, 1]], dtype=np.float32), np.array([1]))
    with pytest.raises(InputError, match="8-bit RGB"):
        segmenter.set_image(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match="too narrow"):
        segmenter.set_image(np.zeros((1, 4000, 3), dtype=np.uint8))


def test_files_that_are_no_weights_are_refused_before_anything_runs(tmp_path: Path) -> None:
    def refused(name: str, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            SamSegmenter("vit_b", tmp_path / name, "cpu", None)
        assert str(tmp_path / name) in str(caught.value)

    refused("absent.pth", "There is no file")
    (tmp_path / "text.pth").write_text("not found")
    refused("text.pth", "damaged")
    (tmp_path / "empty.pth").write_bytes(b"")
    refused("empty.pth", "damaged")
    torch.save([1, 2], tmp_path / "list.pth")
    refused("list.pth", "named tensors")
    torch.save(_Evil(tmp_path / "ran"), tmp_path / "evil.pth")
    refused("evil.pth", "damaged")
    assert not (tmp_path / "ran").exists()
    torch.save(tiny_sam().state_dict(), tmp_path / "tiny.pth")
    refused("tiny.pth", "lacks image_encoder.*in another size")
    half = (tmp_path / "tiny.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(half[: len(half) // 2])
    refused("half.pth", "damaged")
    torch.save({"model": torch.zeros(1)}, tmp_path / "other.pth")
    refused("other.pth", "has beyond it model")
    with pytest.raises(InputError, match="vit_b, vit_l, vit_h"):
        load("vit_x", tmp_path / "tiny.pth")  # type: ignore[arg-type]


class _Evil:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


def test_a_whole_file_gives_the_packages_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = sam_model_registry["vit_b"](checkpoint=None)
    torch.save(model.state_dict(), tmp_path / "sam_vit_b.pth")
    loaded = load("vit_b", tmp_path / "sam_vit_b.pth")
    wanted, found = model.state_dict(), loaded.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert torch.equal(model.pixel_mean, loaded.pixel_mean)
    assert torch.equal(model.pixel_std, loaded.pixel_std)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
