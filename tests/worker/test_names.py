"""Promise: what a person names is one object wherever it lies, and another name is another object.

So it is whatever earlier results took the masks for, and whatever passes find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from cvat_io.model import MaskShape
from tests.helpers.clips import masks_by_frame, shapes_of, tiny_clip, write_clip
from tests.helpers.trips import objects_by_frame, plan_of, run
from tests.worker.test_rounds import Rounds, drawn, moved, rewrite
from worker.objects import Objects

LENGTH = 10


def named(shapes: Sequence[MaskShape], name: str, label: str = "object") -> list[MaskShape]:
    return [
        replace(shape, attributes=(("track_id", name),)) if shape.label == label else shape
        for shape in shapes
    ]


def name_of(shape: MaskShape) -> str:
    return "".join(value for _, value in shape.attributes)


def names_by_object(result: Path) -> dict[int, set[str]]:
    """The names that an object's masks bear; an empty one where a mask bears none."""
    found: dict[int, set[str]] = {}
    for shown in objects_by_frame(result).values():
        for number, shape in shown.items():
            found.setdefault(number, set()).add(name_of(shape))
    return found


def test_two_objects_that_our_result_swapped_are_put_right_by_names_on_two_frames(
    tmp_path: Path,
) -> None:
    """Promise: the names decide on every frame between, not the numbers that we gave before."""
    clip = tiny_clip(LENGTH, objects=3)  # the first and the last are of one label

    def swapped(shapes: list[MaskShape]) -> list[MaskShape]:
        one, two = [shape for shape in shapes if shape.label == "object"]
        if one.frame < 5:
            return shapes
        other = {id(one): two.mask, id(two): one.mask}
        return [replace(s, mask=other[id(s)]) if id(s) in other else s for s in shapes]

    def place(shape: MaskShape) -> str:
        return "upper" if shape.mask.top < 20 else "lower"

    job = Rounds(tmp_path, drawn(0, clip=clip), clip)
    rewrite(job.result, swapped)
    now = job.exported()
    for frame in (0, LENGTH - 1):
        now[frame] = [
            named([shape], place(shape))[0] if shape.label == "object" else shape
            for shape in now[frame]
        ]
    job.correct(now)
    for shown in objects_by_frame(job.result).values():
        assert {n: name_of(s) for n, s in shown.items()} == {1: "upper", 2: "", 3: "lower"}
        assert all(name_of(s) == place(s) for s in shown.values() if s.label == "object")


def test_an_object_that_is_given_two_names_becomes_two(tmp_path: Path) -> None:
    """Promise: one that jumped to another thing is parted by naming both, and the plan says so."""
    clip = tiny_clip(LENGTH, objects=1)
    job = Rounds(tmp_path, drawn(0, clip=clip), clip)
    now = job.exported()
    now[0], now[9] = named(now[0], "a"), named(now[9], "b")
    export = write_clip(tmp_path / "planned.zip", clip, (), masks=[*chain(*now.values())])
    changes = plan_of(export, job.result).changes
    assert changes is not None
    assert {f: found.objects for f, found in changes.compared.items()} == {0: (1,), 9: (0,)}
    (told,) = changes.compared[9].conflicts
    assert 'bears the name "b" where the object with the name "a" was' in told.sentence
    job.correct(now)
    assert names_by_object(job.result) == {1: {"a"}, 2: {"b"}}


def test_a_nameless_mask_between_two_names_joins_them_to_nothing(tmp_path: Path) -> None:
    """Promise: also passes that find one thing all along make no object of two names."""
    clip = tiny_clip(LENGTH, objects=1)
    masks = [
        named(shapes_of(clip, 0, 0), "a"),
        drawn(5, clip=clip),
        named(drawn(9, clip=clip), "b"),
    ]
    export = write_clip(tmp_path / "first.zip", clip, (), masks=[s for each in masks for s in each])
    run(export, tmp_path / "0.zip")
    after = objects_by_frame(tmp_path / "0.zip")
    assert [sorted(after[frame]) for frame in (0, 4, 5, 9)] == [[1], [1], [1], [2]]
    assert all(len(found - {""}) < 2 for found in names_by_object(tmp_path / "0.zip").values())


@pytest.mark.parametrize("how", ["named", "drawn", "drawn over"])
def test_a_name_on_a_frame_where_the_object_has_none_is_of_one_mask_there(
    tmp_path: Path, how: str
) -> None:
    """Promise: no frame shows an object twice, and what nobody corrected keeps its object."""
    clip = tiny_clip(12, objects=1)
    job = Rounds(tmp_path, [s for f in (0, 5, 11) for s in drawn(f, clip=clip)], clip)
    now = job.exported()
    now[0] = named(now[0], "bob")
    job.correct(now)
    now = job.exported()
    (own,) = now[8]
    new = named([replace(own, mask=replace(own.mask, top=30))], "bob")
    now[8] = {
        "named": named(now[8], "bob"),
        "drawn": [*new, *moved(now[8], "object")],
        "drawn over": [*new, own],
    }[how]
    job.correct(now)
    after = objects_by_frame(job.result)
    for frame, shapes in masks_by_frame(job.result).items():
        assert len(after[frame]) == len(shapes)
        assert 0 not in after[frame]
        assert sum(name_of(shape) == "bob" for shape in shapes) < 2
    assert all(sorted(after[frame]) == [1] for frame in (*range(6), 11))
    assert name_of(after[8][1]) == "bob"
    assert sorted(after[8]) == ([1] if how == "named" else [1, 2])


def test_masks_that_stay_go_on_as_the_part_that_was_drawn_last_before_them() -> None:
    """Promise: where an object was parted, each mask of it is of one part, and of the nearer one
    in the direction of time."""
    mask = shapes_of(tiny_clip(1, objects=1), 0, 0)[0]
    seeds = {frame: [replace(mask, frame=frame)] for frame in (2, 5, 9)}
    known = {(frame, 0): 4 for frame in seeds}
    objects = Objects(seeds, [[(5, 0), (9, 0)]], named=[[(2, 0)], [(9, 0)]], known=known, taken=6)
    assert [objects.number((frame, 0)) for frame in (2, 5, 9)] == [4, 4, 7]
    assert [objects.now(4, frame) for frame in (0, 2, 3, 6, 8, 9, 10)] == [4, 4, 4, 4, 4, 7, 7]
    assert objects.now(3, 5) == 3
    assert objects.largest == 7


def test_a_name_joins_what_was_two_objects_though_both_were_drawn_on_a_frame() -> None:
    """Promise: the name goes before numbers; what it leaves stays an object of its own."""
    mask = shapes_of(tiny_clip(1, objects=1), 0, 0)[0]
    seeds = {frame: [replace(mask, frame=frame)] * 2 for frame in (0, 5, 9)}
    known = {(frame, k): k + 1 for frame in seeds for k in (0, 1)}
    objects = Objects(seeds, (), named=[[(0, 0), (9, 1)], [(0, 1), (9, 0)]], known=known, taken=2)
    numbers = [[objects.number((frame, k)) for k in (0, 1)] for frame in seeds]
    assert numbers == [[1, 2], [1, 2], [2, 1]]
