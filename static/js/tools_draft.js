// A mask in the making: it stands in for an object's own mask on the stage until it is saved.

import { channels } from "./colours.js";
import { decode, encode } from "./masks.js";

export class Draft {
  // `mask`: what the object has on this frame, or null. `line`: width of its outline, `opacity`: of
  // what lies within.
  constructor({ frame, object, mask, width, height, colour, line, opacity }) {
    Object.assign(this, { frame, object, width, height, line });
    const [red, green, blue] = channels(colour);
    const shade = (alpha) => new Uint32Array(new Uint8ClampedArray([red, green, blue, alpha]).buffer)[0];
    this.edge = shade(255);
    this.inner = shade(Math.round(255 * Math.max(0.25, opacity)));
    this.bits = new Uint8Array(width * height);
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d");
    this.put(mask);
  }

  // Take another mask in place of what there is.
  put(mask) {
    this.bits.fill(0);
    if (mask) {
      const { left, top, width, height, bits } = decode(mask);
      for (let y = 0; y < height; y += 1) {
        this.bits.set(bits.subarray(y * width, (y + 1) * width), (top + y) * this.width + left);
      }
    }
    this.touched([0, 0, this.width, this.height]);
  }

  // Paint again what changed in `box`: [left, top, right, bottom), or null.
  touched(box) {
    if (!box) return;
    const { bits, width, height, line } = this;
    const left = Math.max(0, box[0] - line), top = Math.max(0, box[1] - line);
    const right = Math.min(width, box[2] + line), bottom = Math.min(height, box[3] + line);
    const image = new ImageData(right - left, bottom - top);
    const pixels = new Uint32Array(image.data.buffer);
    for (let y = top, to = 0; y < bottom; y += 1) {
      for (let x = left, at = y * width + left; x < right; x += 1, at += 1, to += 1) {
        if (!bits[at]) continue;
        const inside = x >= line && x < width - line && y >= line && y < height - line
          && bits[at - line] && bits[at + line] && bits[at - line * width] && bits[at + line * width];
        pixels[to] = inside ? this.inner : this.edge;
      }
    }
    this.context.putImageData(image, left, top);
  }

  // -> {box, runs}, or null where nothing is left.
  mask() { return encode(this.bits, this.width, this.height); }

  draw(context) {
    context.imageSmoothingEnabled = false;
    context.drawImage(this.canvas, 0, 0);
  }
}
