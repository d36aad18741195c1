"""Run lengths, pixels and label maps say the same: no pixel is lost or invented on any way."""

from __future__ import annotations

import re
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cvat_io import masks
from cvat_io.model import Mask
from cvat_io.runtext import parse_many

pixels = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
label_maps = hnp.arrays(
    np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)
)


def canvas_of(mask: Mask | None, shape: tuple[int, int]) -> NDArray[np.bool_]:
    canvas = np.zeros(shape, dtype=np.bool_)
    if mask is not None:
        masks.paint(mask, canvas, True)
    return canvas


def loosened(mask: Mask, left: int, top: int, right: int, bottom: int) -> Mask:
    """The same pixels in a larger box, with a zero run in the middle and one at the end."""
    box = np.pad(masks.decode(mask), ((top, bottom), (left, right))).ravel()
    runs = [0] if box[0] else []
    runs += [len(list(group)) for _, group in groupby(box.tolist())]
    half = runs[-1] // 2
    runs = [*runs[:-1], half, 0, runs[-1] - half, 0]
    return Mask(
        mask.left - left,
        mask.top - top,
        mask.width + left + right,
        mask.height + top + bottom,
        np.array(runs, dtype=np.int32),
    )


@given(pixels, st.integers(0, 5), st.integers(0, 5))
def test_encoding_and_painting_gives_the_very_same_pixels(
    given_pixels: NDArray[np.bool_], left: int, top: int
) -> None:
    high, wide = given_pixels.shape
    mask = masks.encode(given_pixels, left, top)
    canvas = canvas_of(mask, (high + top, wide + left))
    assert np.array_equal(canvas[top:, left:], given_pixels)
    assert canvas.sum() == given_pixels.sum()
    if mask is None:
        assert not given_pixels.any()
        return
    assert masks.area(mask) == given_pixels.sum()
    assert int(mask.runs.sum()) == mask.width * mask.height


@given(pixels)
def test_encoded_masks_are_tight_and_have_no_zero_run_but_where_the_first_pixel_is_set(
    given_pixels: NDArray[np.bool_],
) -> None:
    mask = masks.encode(given_pixels)
    if mask is None:
        return
    box = masks.decode(mask)
    assert box[0].any()
    assert box[-1].any()
    assert box[:, 0].any()
    assert box[:, -1].any()
    assert (mask.runs[0] == 0) == bool(box[0, 0])
    assert (mask.runs[1:] > 0).all()
    assert masks.tight(mask) is mask


@given(label_maps)
def test_all_labels_in_one_pass_equal_each_label_alone(labels: NDArray[np.uint16]) -> None:
    found = masks.encode_labels(labels)
    assert list(found) == sorted(set(labels.ravel().tolist()) - {0})
    for label, mask in found.items():
        alone = masks.encode(labels == label)
        assert alone is not None
        assert (mask.left, mask.top, mask.width, mask.height) == (
            alone.left,
            alone.top,
            alone.width,
            alone.height,
        )
        assert np.array_equal(mask.runs, alone.runs)


@given(
    pixels,
    st.tuples(*[st.integers(0, 3)] * 4),
)
def test_loose_boxes_and_zero_runs_mean_the_same_pixels(
    given_pixels: NDArray[np.bool_], margins: tuple[int, int, int, int]
) -> None:
    mask = masks.encode(given_pixels, 3, 3)
    if mask is None:
        return
    loose = loosened(mask, *margins)
    again = masks.tight(loose)
    assert again is not None
    assert (again.left, again.top, again.width, again.height) == (
        mask.left,
        mask.top,
        mask.width,
        mask.height,
    )
    assert np.array_equal(again.runs, mask.runs)
    assert masks.same_pixels(loose, mask)
    assert masks.iou(loose, mask) == 1.0


@given(st.lists(hnp.arrays(np.bool_, (7, 9)), max_size=6))
def test_many_masks_are_made_canonical_as_each_alone(drawn: list[NDArray[np.bool_]]) -> None:
    given_masks = [mask for each in drawn if (mask := masks.encode(each, 2, 2)) is not None]
    given_masks += [loosened(mask, 1, 2, 0, 1) for mask in given_masks]
    for one, other in zip(masks.tight_many(given_masks), given_masks, strict=True):
        alone = masks.tight(other)
        assert one is not None
        assert alone is not None
        assert (alone is other) == (one is other)
        assert np.array_equal(one.runs, alone.runs)
        assert (one.left, one.top, one.width) == (alone.left, alone.top, alone.width)


@given(hnp.arrays(np.bool_, (6, 7)), hnp.arrays(np.bool_, (6, 7)))
def test_iou_and_sameness_are_those_of_the_pixels(
    one: NDArray[np.bool_], two: NDArray[np.bool_]
) -> None:
    a, b = masks.encode(one), masks.encode(two)
    if a is None or b is None:
        return
    assert masks.iou(a, b) == pytest.approx((one & two).sum() / (one | two).sum())
    assert masks.same_pixels(a, b) == np.array_equal(one, two)


def test_a_mask_of_zeros_only_has_no_canonical_form() -> None:
    empty = Mask(0, 0, 4, 2, np.array([8], dtype=np.int32))
    assert masks.tight(empty) is None
    assert masks.tight(Mask(0, 0, 4, 2, np.array([3, 0, 5], dtype=np.int32))) is None
    assert masks.tight_many([empty]) == [None]


@given(st.lists(st.integers(0, 10**8 - 1), min_size=1, max_size=40))
def test_run_lengths_survive_text_to_the_letter(numbers: list[int]) -> None:
    runs = np.array(numbers, dtype=np.int32)
    text = masks.format_rle(runs)
    assert text == ", ".join(map(str, numbers))
    if 0 < sum(numbers) < 2**31:
        assert masks.parse_rle(text, sum(numbers)).tolist() == numbers


@given(st.lists(st.lists(st.integers(0, 99_999), min_size=1, max_size=9), max_size=9))
def test_a_batch_is_read_as_each_text_alone(lists: list[list[int]]) -> None:
    texts = [", ".join(map(str, numbers)) for numbers in lists]
    found = parse_many(texts, [sum(numbers) for numbers in lists])
    assert [None if runs is None else runs.tolist() for runs in found] == lists


@pytest.mark.parametrize("text", ["1,2,5", " 1 , 2 ,5 ", "1, 2, 5", "01, 2, 5", "+1, 2, 5"])
def test_every_list_that_cvat_reads_is_read(text: str) -> None:
    assert masks.parse_rle(text, 8).tolist() == [1, 2, 5]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1, 2", "add up to 3"),
        ("1, 2, 50", "add up to 53"),
        ("1, -2, 9", "negative number -2"),
        ("1, x, 5", '"x"'),
        ("1, NaN, 5", '"NaN"'),
        ("1, 2.0, 5", '"2.0"'),
        ("", '""'),
        ("1, 2, 5,", '""'),
        ("1, ٢, ", '""'),
        ("99999999999999999999", "add up to"),
        ("1;2;5", "no whole number"),
        ("9" * 5000, "no whole number"),
    ],
)
def test_bad_run_lengths_are_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        masks.parse_rle(text, 8)


@settings(max_examples=300)
@given(st.text(alphabet="0123456789, -x\u0662", max_size=20))
def test_any_text_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        expected = [int(piece) for piece in text.split(",")]
    except ValueError:
        expected = [-1]
    try:
        found = masks.parse_rle(text, 8).tolist()
    except ValueError:
        found = None
    sound = sum(expected) == 8 and min(expected) >= 0
    assert found == (expected if sound else None)
