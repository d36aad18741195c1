"""Promise: the sample clip is the same everywhere, its masks are exact, its objects do things."""

from __future__ import annotations

import numpy as np
import pytest

from demo.clip import make_clip

CLIP = make_clip()
LABELS = np.stack([labels for _, labels in CLIP])


def test_frames_have_the_shape_asked_for() -> None:
    clip = make_clip(3, 200, 120)
    assert len(list(clip)) == len(clip) == 3
    for image, labels in clip:
        assert (image.shape, image.dtype) == ((120, 200, 3), np.uint8)
        assert (labels.shape, labels.dtype) == ((120, 200), np.uint16)
    with pytest.raises(IndexError):
        clip.frame(3)


def test_the_same_arguments_give_the_same_pixels_and_a_seed_changes_textures_only() -> None:
    one, two, other = (make_clip(2, seed=seed).frame(1) for seed in (4, 4, 5))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_a_short_clip_is_the_beginning_of_a_long_one() -> None:
    assert np.array_equal(make_clip(5).frame(4)[0], CLIP.frame(4)[0])


def test_there_are_objects_of_two_labels() -> None:
    assert sorted(CLIP.objects) == list(range(1, len(CLIP.objects) + 1))
    assert set(CLIP.objects.values()) == {"ball", "box"}
    assert set(np.unique(LABELS)) == {0, *CLIP.objects}


def test_objects_leave_enter_late_cross_and_change_size() -> None:
    first, middle = set(np.unique(LABELS[0])), set(np.unique(LABELS[30]))
    assert first - middle == {3}  # left
    assert middle - first == {4}  # entered
    areas = {n: (n == LABELS).sum(axis=(1, 2)) for n in CLIP.objects}
    assert areas[1].min() < 0.6 * areas[1][0]  # covered by others for a while
    assert areas[2][-1] > 2 * areas[2][0]  # comes nearer
    assert areas[5][-1] < 0.6 * areas[5][0]  # goes away


def test_masks_are_exact_to_the_pixel() -> None:
    """Where a mask says ground, no object's paint may cover more than half; and the other way."""
    image, labels = CLIP.frame(0)
    blue = image[..., 2].astype(int) - image[..., 0]
    box = labels == 1
    rows, columns = np.nonzero(box)
    window = np.s_[rows.min() - 4 : rows.max() + 5, columns.min() - 4 : columns.max() + 5]
    painted = blue[window] > 20
    assert np.count_nonzero(painted != box[window]) < 0.02 * np.count_nonzero(box)
