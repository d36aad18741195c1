"""Promise: what a person changed is found mask by mask, objects keep their identity through CVAT,
and what could be taken in two ways is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cvat_io.defaults import Defaults
from cvat_io.masks import encode
from cvat_io.model import Label, LabelAttribute, MaskShape
from jobs.compare import compare_frame, unchanged
from jobs.frame_change import ChangeKind, FrameChange

NAMED = (LabelAttribute("object_id", False, "text", "", ()),)
DEFAULTS = Defaults(Label(name, "", "any", NAMED) for name in ("car", "bus"))


def box(
    left: int, top: int = 0, *, side: int = 10, label: str = "car", name: str = ""
) -> MaskShape:
    mask = encode(np.ones((side, side), dtype=np.bool_), left, top)
    assert mask is not None
    attributes = (("object_id", name),) if name else ()
    return MaskShape(9, label, mask, attributes=attributes)


def compared(
    before: list[tuple[MaskShape, int]],
    now: list[MaskShape],
    names: dict[tuple[str, str], int] | None = None,
) -> FrameChange:
    return compare_frame(9, before, now, names or {}, DEFAULTS)


def kinds(found: FrameChange) -> list[str]:
    return sorted(change.kind.value for change in found.changes)


@pytest.mark.parametrize(
    ("now", "kind", "objects", "touched"),
    [
        ([box(0)], [], (3,), set()),
        ([box(2)], ["edited"], (3,), {3}),
        ([box(0, label="bus")], ["moved"], (0,), {3}),
        ([box(1, label="bus")], ["moved"], (0,), {3}),
        ([box(0, name="a")], ["attributes"], (3,), {3}),
        ([replace(box(0), occluded=True)], ["placed"], (3,), set()),
        ([replace(box(0), z_order=2, source="auto")], ["placed"], (3,), set()),
        ([], ["deleted"], (), {3}),
        ([box(0), box(50)], ["added"], (3, 0), set()),
        ([box(50)], ["added", "deleted"], (0,), {3}),
        ([box(50), box(2)], ["added", "edited"], (0, 3), {3}),
    ],
)
def test_each_mask_is_as_it_was_or_changed_in_one_way(
    now: list[MaskShape], kind: list[str], objects: tuple[int, ...], touched: set[int]
) -> None:
    """Promise: added, edited, deleted, moved to another label, attributes; nothing else counts."""
    found = compared([(box(0), 3)], now)
    assert (kinds(found), found.objects, found.touched) == (kind, objects, touched)
    assert found.conflicts == ()


def test_objects_of_unchanged_masks_are_known_by_their_exact_pixels() -> None:
    """Promise: identity survives CVAT's new numbers and any order in the file."""
    before = [(box(0), 1), (box(20), 2), (box(20, label="bus"), 3)]
    now = [box(20, label="bus"), box(40), box(20), box(0)]
    assert unchanged(before, now, DEFAULTS) == (3, 0, 2, 1)


def test_a_name_says_which_object_a_mask_shows_wherever_it_lies() -> None:
    """Promise: an attribute that names the object decides before overlap does."""
    before = [(box(0, name="a"), 1), (box(20, name="b"), 2)]
    found = compared(before, [box(21, name="a"), box(1, name="b")])
    assert (found.objects, kinds(found)) == ((1, 2), ["edited", "edited"])
    back = compared(
        [(box(0, name="a"), 1)], [box(0, name="a"), box(40, name="z")], {("car", "z"): 5}
    )
    assert (back.objects, back.touched, kinds(back)) == ((1, 5), {5}, ["added"])


@pytest.mark.parametrize(("left", "kind"), [(0, "attributes"), (1, "edited")])
def test_another_name_is_another_object_wherever_the_mask_lies(left: int, kind: str) -> None:
    """Promise: an ID switch is corrected by the name alone, and told; no name says nothing."""
    before = [(box(0, name="a"), 1), (box(30, name="b"), 2)]
    found = compared(before, [box(left, name="c"), before[1][0]])
    assert (found.objects, found.touched, kinds(found)) == ((0, 2), {1}, [kind])
    assert [each.sentence for each in found.conflicts] == [
        'Frame 9: a mask of "car" bears the name "c" where the object with the name "a" was: the '
        "name decides."
    ]
    unnamed = compared(before, [box(left), before[1][0]])
    assert (unnamed.objects, unnamed.conflicts) == ((1, 2), ())


@pytest.mark.parametrize(
    ("now", "objects", "kind", "told"),
    [
        ([box(0, name="z")], (5,), ["attributes"], []),
        ([box(2, name="z")], (5,), ["edited"], []),
        ([box(50, name="z")], (5,), ["edited"], []),
        ([box(50, name="z"), box(1)], (5, 0), ["added", "edited"], ["was added where object 5"]),
        ([box(1), box(50, name="z")], (0, 5), ["added", "edited"], ["was added where object 5"]),
        ([box(50, name="z"), box(0)], (5, 0), ["added"], ["the other mask is a new object"]),
    ],
)
def test_the_name_of_an_object_goes_to_its_mask_on_a_frame_where_it_had_none(
    now: list[MaskShape], objects: tuple[int, ...], kind: list[str], told: list[str]
) -> None:
    """Promise: no object is given to two masks of a frame, and merely naming one takes none away;
    where a mask without the name lies where the object was, that is told."""
    found = compared([(box(0), 5)], now, {("car", "z"): 5})
    assert (found.objects, kinds(found), found.touched) == (objects, kind, {5})
    assert len(found.conflicts) == len(told)
    for conflict, part in zip(found.conflicts, told, strict=True):
        assert part in conflict.sentence


def test_another_name_is_told_also_where_the_object_has_its_name_on_other_frames_alone() -> None:
    """Promise: a nameless mask of an object that has a name is not taken for one of another."""
    found = compared([(box(0), 5)], [box(0, name="y")], {("car", "z"): 5})
    assert (found.objects, kinds(found), found.touched) == ((0,), ["attributes"], {5})
    assert [each.sentence for each in found.conflicts] == [
        'Frame 9: a mask of "car" bears the name "y" where the object with the name "z" was: the '
        "name decides."
    ]
    assert found.named == {}
    assert compared([(box(0), 5)], [box(0, name="z")]).named == {("car", "z"): 5}


def test_a_name_that_an_object_lost_on_a_frame_is_not_given_to_two_masks() -> None:
    """Promise: so it is too where the object's own mask bears another name there."""
    before = [(box(0, name="c"), 5)]
    found = compared(before, [box(50, name="z"), box(1)], {("car", "z"): 5})
    assert sorted(found.objects) == [0, 5]


def test_a_mask_that_is_added_over_another_one_of_its_label_is_told() -> None:
    """Promise: one thing that was drawn twice is not silently taken for two."""
    unchanged_too = [box(0), box(3)]
    assert [each.sentence for each in compared([(box(0), 3)], unchanged_too).conflicts][:1] == [
        'Frame 9: a mask of "car" was added where object 3 was, which goes on with another mask: '
        "it is taken for a new object; delete one of the two if they show one thing."
    ]
    for other in (box(6, label="bus"), box(10)):
        assert compared([(box(0), 3)], [box(0), other]).conflicts == ()
    named = [(box(0, name="a"), 3)]
    assert compared(named, [box(0, name="a"), box(6, name="b")]).conflicts == ()


@pytest.mark.parametrize("twice", ["before", "now"])
def test_a_name_that_two_masks_of_a_frame_bear_parts_no_objects(twice: str) -> None:
    """Promise: such a name is passed over; pixels and overlap decide."""
    masks = [box(0, name="a"), box(20, name="a"), box(40, name="a")]
    apart = [box(0, name="a"), box(20, name="b"), box(41, name="c")]
    before, now = (masks, apart) if twice == "before" else (apart, masks)
    found = compared([(shape, number) for number, shape in enumerate(before, 1)], now)
    assert found.objects == (1, 2, 3)


def test_a_name_that_nobody_typed_decides_nothing() -> None:
    """Promise: the default of an attribute is nobody's name, and overlap decides."""
    attributes = (LabelAttribute("object_id", False, "text", "a", ()),)
    before = [(box(0, name="a"), 1), (box(20, name="a"), 2)]
    now = [box(21, name="a"), box(1)]
    defaults = Defaults([Label("car", "", "any", attributes)])
    found = compare_frame(9, before, now, {("car", "a"): 3}, defaults)
    assert (found.objects, found.conflicts) == ((2, 1), ())


@pytest.mark.parametrize(
    ("before", "now", "told", "objects"),
    [
        ([(box(0, side=20), 1)], [box(0, side=16), box(10, 8, side=10)], "several masks", (1, 0)),
        ([(box(0), 1), (box(10), 2)], [box(0, side=16)], "one mask", (1,)),
        ([(box(0), 1), (box(4), 2)], [box(2), box(2, side=9)], "about alike", None),
        ([(box(0), 1)], [box(0, name="z"), box(30, name="z")], "bear the name", None),
        ([(box(0), 1)], [box(1, name="z")], "the name decides", (5,)),
    ],
)
def test_what_could_be_taken_in_two_ways_is_decided_and_told(
    before: list[tuple[MaskShape, int]],
    now: list[MaskShape],
    told: str,
    objects: tuple[int, ...] | None,
) -> None:
    """Promise: conflicts are listed, not guessed silently: split, joined, swapped, named twice."""
    found = compared(before, now, {("car", "z"): 5})
    assert len(found.conflicts) == 1
    assert found.conflicts[0].sentence.startswith("Frame 9: ")
    assert told in found.conflicts[0].sentence
    if objects is not None:
        assert found.objects == objects


def test_a_mask_that_is_there_twice_is_paired_once_each() -> None:
    """Promise: no object is on a frame twice."""
    found = compared([(box(0), 1), (box(0), 2)], [box(0), box(0), box(0)])
    assert sorted(found.objects) == [0, 1, 2]
    assert [change.kind for change in found.changes] == [ChangeKind.ADDED]


THE = 'of the previous result\'s masks of "car" on frame 9'


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ([(box(0, side=20), 0)], [box(0, side=16), box(10, 8)], f"lie where one {THE} was"),
        ([(box(0), 0), (box(10), 0)], [box(0, side=16)], f"lies where two {THE} were"),
        ([(box(0), 1), (box(10), 0)], [box(0, side=16)], f"lies where two {THE} were"),
        ([(box(0), 0), (box(4), 0)], [box(2), box(2, side=9)], f"overlap two {THE} about alike"),
        ([(box(0), 0)], [box(1, name="z")], f"lies where one {THE} was and bears"),
    ],
)
def test_masks_of_which_no_object_is_known_are_named_by_label_and_frame(
    before: list[tuple[MaskShape, int]], now: list[MaskShape], told: str
) -> None:
    """Promise: of a previous result that says nothing of objects nobody hears of an object 0."""
    (conflict,) = compared(before, now, {("car", "z"): 5}).conflicts
    assert told in conflict.sentence
    assert "object 0" not in conflict.sentence
    assert "objects 0" not in conflict.sentence
