"""What polygons lose of masks, by tolerance: `python -m bench.polygons`.

Every human mask of the clips becomes polygons (all its pieces, without holes) and is drawn again by
CVAT's rule. *IoU* is that of the mask with its polygons, the mean over masks; *without holes* that
of the mask with its holes filled, which no polygon can have. *corners* are those of a mask's
polygons together.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.clips import CLIPS, clip_names, find_clip
from bench.machine import machine
from cvat_io.masks import encode_labels, paint
from cvat_io.outlines import pieces_of, polygon_of
from cvat_io.polygons import rasterise

TOLERANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=CLIPS, help="a folder of clips")
    parser.add_argument("--every", type=int, default=5, help="every how many frames (default: 5)")
    options = parser.parse_args()
    masks = []
    for name in clip_names(options.data):
        clip = find_clip(name, options.data)
        for index in clip.keys(options.every):
            labels = clip.labels(index)
            assert labels is not None
            masks += [(labels.shape, mask) for mask in encode_labels(labels).values()]
    print(f"{len(masks)} human masks; {machine()}")
    print("tolerance  corners     IoU  without holes  worst    ms")
    for tolerance in TOLERANCES:
        corners, scores = [], []
        seconds = 0.0
        for (height, width), mask in masks:
            began = time.perf_counter()
            polygons = [polygon_of(piece.outline, tolerance) for piece in pieces_of(mask)]
            seconds += time.perf_counter() - began
            shown, drawn = np.zeros((2, height, width), dtype=np.bool_)
            for polygon in polygons:
                shown |= rasterise(polygon, height, width)
            paint(mask, drawn, True)
            filled = np.asarray(ndimage.binary_fill_holes(drawn))
            corners.append(sum(map(len, polygons)))
            scores.append([(shown & one).sum() / (shown | one).sum() for one in (drawn, filled)])
        mean = np.mean(scores, axis=0)
        worst = np.min(scores, axis=0)[1]
        print(
            f"{tolerance:9.1f} {np.mean(corners):8.0f} {mean[0]:7.4f} {mean[1]:14.4f} "
            f"{worst:6.3f} {1000 * seconds / len(masks):5.1f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
