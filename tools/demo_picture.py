"""Make docs/images/demo.png from the overlay that `make demo` wrote: four labelled frames."""

from __future__ import annotations

from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
FRAMES = {
    0: "frame 0, drawn",
    15: "frame 15, relayed",
    30: "frame 30, drawn",
    40: "frame 40, relayed",
}
GAP, BAR = 8, 28


def main() -> None:
    """Read demo-data/sample_overlay.mp4 and write the picture."""
    with av.open(str(ROOT / "demo-data" / "sample_overlay.mp4")) as video:
        shown = {
            index: frame.to_image()
            for index, frame in enumerate(video.decode(video=0))
            if index in FRAMES
        }
    width, height = shown[0].size
    picture = Image.new("RGB", (2 * width + GAP, 2 * (height + BAR) + GAP), "white")
    font = ImageFont.load_default(size=16)
    draw = ImageDraw.Draw(picture)
    for place, (index, words) in enumerate(FRAMES.items()):
        left = (place % 2) * (width + GAP)
        top = (place // 2) * (height + BAR + GAP)
        draw.text((left + 2, top + 4), words, fill="#333333", font=font)
        picture.paste(shown[index], (left, top + BAR))
    picture.quantize(192).save(ROOT / "docs" / "images" / "demo.png", optimize=True)


if __name__ == "__main__":
    main()
