"""What the stand-in of a CVAT server says, built with the SDK's own models."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
from cvat_sdk.api_client import ApiClient, Configuration, models

from cvat_io.model import Mask, MaskShape

NAMES = {1: "object", 2: "thing", 3: "HUD"}
ATTRIBUTES: dict[int, dict[int, str]] = {1: {11: "track_id"}, 2: {}, 3: {}}  # of each label


def said(model: type, **values: Any) -> Any:
    """The JSON of one of the SDK's models."""
    made = model._from_openapi_data(**values)
    return ApiClient(Configuration(host="http://x")).sanitize_for_serialization(made)


def said_label(number: int) -> Any:
    specs = [
        models.Attribute._from_openapi_data(
            id=spec, name=name, mutable=False, input_type="text", default_value="", values=[]
        )
        for spec, name in ATTRIBUTES[number].items()
    ]
    return said(models.Label, name=NAMES[number], id=number, attributes=specs, parent_id=None)


def shape_of(label: int, frame: int, mask: Mask, number: int, source: str = "manual") -> dict:
    points = [*mask.runs.tolist(), mask.left, mask.top]
    points += [mask.left + mask.width - 1, mask.top + mask.height - 1]
    return {
        "type": "mask", "label_id": label, "frame": frame, "points": [float(p) for p in points],
        "id": number, "group": 0, "source": source, "attributes": [], "z_order": 0,
        "occluded": False, "outside": False, "rotation": 0.0, "elements": [],
    }  # fmt: skip


def filled(shape: dict[str, Any]) -> dict[str, Any]:
    """A shape as the API gives it: with the default of each attribute that it lacks."""
    given = {each["spec_id"] for each in shape["attributes"]}
    lacks = [spec for spec in ATTRIBUTES[shape["label_id"]] if spec not in given]
    return {
        **shape,
        "attributes": [*shape["attributes"], *({"spec_id": spec, "value": ""} for spec in lacks)],
    }


def exported(shape: dict[str, Any], step: int) -> MaskShape:
    """A mask as an export has it."""
    *runs, left, top, right, bottom = (int(value) for value in shape["points"])
    size = (right - left + 1, bottom - top + 1)
    label = shape["label_id"]
    return MaskShape(
        frame=shape["frame"] * step,
        label=NAMES[label],
        mask=Mask(left, top, *size, np.array(runs, dtype=np.int32)),
        source=shape["source"],
        occluded=shape["occluded"],
        z_order=shape["z_order"],
        group_id=shape["group"],
        attributes=tuple(
            (ATTRIBUTES[label][each["spec_id"]], each["value"])
            for each in filled(shape)["attributes"]
        ),
    )


def imported(mask: ElementTree.Element, label: int, step: int, number: int) -> dict[str, Any]:
    """The shape that an import makes of a mask: its group is lost, its source is "manual"."""
    at = {n: int(mask.attrib[n]) for n in ("frame", "left", "top", "width", "height")}
    runs = np.array([int(run) for run in mask.attrib["rle"].split(",")], dtype=np.int32)
    found = Mask(at["left"], at["top"], at["width"], at["height"], runs)
    specs = {name: spec for spec, name in ATTRIBUTES[label].items()}
    return shape_of(label, at["frame"] // step, found, number) | {
        "occluded": mask.attrib["occluded"] == "1",
        "z_order": int(mask.attrib["z_order"]),
        "attributes": [
            {"spec_id": specs[each.attrib["name"]], "value": (each.text or "").strip()}
            for each in mask.iter("attribute")
            if each.attrib["name"] in specs
        ],
    }
