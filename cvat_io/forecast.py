"""What becomes of a result when CVAT imports it: kept, dropped, stored wrongly, or all refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, StrEnum

MOST_EXAMPLES = 5  # of one rule


class Fate(StrEnum):
    """What CVAT does."""

    REFUSED = "refused"  # the whole import is rolled back: nothing of the file is stored
    DROPPED = "dropped"  # it is passed over in silence, all else is stored
    SPOILED = "stored wrongly"  # it is stored, but not as it is meant
    NOTED = "as usual"  # nothing that a person made is lost


class Rule(Enum):
    """One rule of CVAT's importer: its fate, and why."""

    NO_LABEL = Fate.REFUSED, "no label"
    UNKNOWN_LABEL = Fate.REFUSED, "a label that the job does not have"
    UNKNOWN_FRAME = Fate.REFUSED, "a frame that the job does not have"
    UNKNOWN_IMAGE = Fate.REFUSED, "an image that the job does not have"
    MISSING = Fate.REFUSED, "something is missing that CVAT needs"
    NO_NUMBER = Fate.REFUSED, "text where a number belongs"
    RANGE = Fate.REFUSED, "a number that CVAT does not store"
    NO_KEY = Fate.REFUSED, 'a track without a shape of keyframe="1"'
    NESTED = Fate.REFUSED, "a track or a tag inside a track"
    CHECKBOX = Fate.REFUSED, "a checkbox that is neither true nor false"
    LONG_VALUE = Fate.REFUSED, "a value of more than 4096 characters"
    FURTHER_MASK = Fate.DROPPED, "a further mask of a track, of which CVAT keeps the first only"
    BESIDE_MASK = Fate.DROPPED, "another shape in a track that begins with a mask"
    UNKNOWN_ATTRIBUTE = Fate.DROPPED, "an attribute that the label does not have"
    UNKNOWN_KIND = Fate.DROPPED, "an element that is no shape of CVAT's"
    GROUP = Fate.DROPPED, "the group of a mask, which CVAT does not read from a track"
    GHOST = Fate.SPOILED, 'a mask with outside="1", which CVAT shows all the same'
    TWICE = Fate.SPOILED, "a mask that is there already: it is stored twice"
    FRAME_TWICE = Fate.SPOILED, "a second shape on one frame of a track: later exports may fail"
    MASK_IN_TRACK = Fate.SPOILED, "a mask in a track of other shapes: later exports fail"
    RUNS = Fate.SPOILED, "run lengths that do not fill their box: later exports may fail"
    BOX = Fate.SPOILED, "a box that is not inside the frame, which CVAT does not check"
    EMPTY = Fate.SPOILED, "a mask without a pixel"
    CLOSING = Fate.NOTED, "a closing shape of a mask, which CVAT does not need"
    BETWEEN = Fate.NOTED, "a shape between key shapes, which CVAT computes again"
    SOURCE = Fate.NOTED, 'the source of a mask becomes "manual"'

    @property
    def fate(self) -> Fate:
        """What CVAT does with what the rule strikes."""
        return self.value[0]

    @property
    def why(self) -> str:
        """The reason, for one thing that it strikes."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that a rule struck. `frame`: as the file has it, "" where it has none.

    `detail`: what exactly, such as the attribute's name.
    """

    frame: str
    label: str
    track: str
    detail: str


@dataclass(slots=True)
class Struck:
    """All that one rule struck: how many, and the first of them."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Forecast:
    """What CVAT will do with one file.

    `masks`: stored ones by label, `tracks`: other tracks by the kind of their first shape,
    `shapes`: those of <image> elements that are no masks, by kind, and tags. `frames`: on how many
    frames a mask is stored. All of them say what would be stored if nothing were refused.
    `struck`: by rule. `notices`: sentences on the file as a whole.
    """

    masks: Counter[str] = field(default_factory=Counter)
    tracks: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    struck: dict[Rule, Struck] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def strike(self, rule: Rule, frame: str, label: str, track: str, detail: str = "") -> None:
        """Note that `rule` struck something."""
        struck = self.struck.setdefault(rule, Struck())
        struck.count += 1
        if len(struck.examples) < MOST_EXAMPLES:
            struck.examples.append(Example(frame[:20], label[:80], track[:40], detail[:120]))

    def count(self, fate: Fate) -> int:
        """How many things have this fate."""
        return sum(struck.count for rule, struck in self.struck.items() if rule.fate is fate)

    @property
    def fate(self) -> Fate:
        """The worst that happens to any part of the file."""
        return next((fate for fate in Fate if self.count(fate)), Fate.NOTED)
