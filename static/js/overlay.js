// The masks of one frame as a picture: areas in their objects' colours, and their outlines.
//
// Masks are never taken apart into pixels: runs are cut into pieces of rows, and pieces are filled.
// Where the picture is shown smaller than half its size only every second (third, ...) row and
// column is drawn.

import { channels } from "./colours.js";
import { eachPiece, parseRuns } from "./masks.js";

const SELECTED = 0.18; // more opaque than the others

// What a mask is told apart by: its object's number, or its label where no object is known.
export const laneOf = (mask) => mask.object || mask.label;

export class Overlay {
  constructor() {
    this.canvas = new OffscreenCanvas(1, 1);
    this.context = this.canvas.getContext("2d");
    this.image = null;
    this.words = null; // the image's pixels, one 32-bit word each
    this.dirty = null; // [left, top, right, bottom) that is not empty
    this.drawn = {}; // what the canvas shows
  }

  // Draw `entry`'s masks for a sequence of `width` x `height` pixels, one of them for each `factor`.
  // `look`: see Stage.look. `line`: width of outlines in pixels of the result, 0 for none.
  draw(entry, width, height, factor, line, look) {
    const now = { entry, width, height, factor, line, look };
    if (Object.keys(now).every((name) => now[name] === this.drawn[name])) return;
    this.drawn = now;
    this.#clear(Math.ceil(width / factor), Math.ceil(height / factor));
    const masks = entry.masks.filter((mask) => !look.hidden.has(laneOf(mask)));
    masks.sort((a, b) => (a.z ?? 0) - (b.z ?? 0)); // keeps the order of equals
    for (const mask of masks) this.#mask(mask, factor, line, look);
    this.#put();
  }

  #clear(width, height) {
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.image = this.context.createImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer);
      this.before = this.dirty = null;
      return;
    }
    this.before = this.dirty;
    this.dirty = null;
    if (!this.before) return;
    const [left, top, right, bottom] = this.before;
    for (let y = top; y < bottom; y += 1) this.words.fill(0, y * width + left, y * width + right);
  }

  // What was there and what is there now goes to the canvas.
  #put() {
    const boxes = [this.before, this.dirty].filter(Boolean);
    if (!boxes.length) return;
    const left = Math.min(...boxes.map((box) => box[0])), top = Math.min(...boxes.map((box) => box[1]));
    const right = Math.max(...boxes.map((box) => box[2])), bottom = Math.max(...boxes.map((box) => box[3]));
    this.context.putImageData(this.image, 0, 0, left, top, right - left, bottom - top);
  }

  #mask(mask, factor, line, look) {
    const rows = new Rows(mask, factor, this.canvas.width, this.canvas.height);
    if (!rows.count) return;
    const colour = look.colours.get(laneOf(mask));
    const isSelected = look.selected === laneOf(mask);
    const area = word(colour, Math.min(1, look.opacity + (isSelected ? SELECTED : 0)));
    const edge = word(colour, 1);
    const { width } = this.canvas, { words } = this;
    const inset = line + (isSelected ? 1 : 0);
    for (let row = 0; row < rows.height; row += 1) {
      const start = (rows.top + row) * width;
      rows.each(row, (from, to) => words.fill(line ? edge : area, start + from, start + to));
      if (line) rows.inside(row, inset, (from, to) => words.fill(area, start + from, start + to));
    }
    const box = [rows.left, rows.top, rows.right, rows.top + rows.height];
    this.dirty = this.dirty ? [0, 1, 2, 3].map((at) => Math[at < 2 ? "min" : "max"](box[at], this.dirty[at])) : box;
  }
}

// A mask's pieces by rows, in pixels of the result; what lies outside of the picture is left out.
class Rows {
  constructor({ box: [left, top, width, height], runs }, factor, canvasWidth, canvasHeight) {
    const shrink = (value) => Math.ceil(value / factor);
    this.top = Math.max(0, shrink(top));
    this.height = Math.max(0, Math.min(canvasHeight, shrink(top + height)) - this.top);
    this.left = canvasWidth;
    this.right = 0;
    this.count = 0;
    this.starts = new Int32Array(this.height + 1); // of each row among the pieces
    const lengths = parseRuns(runs);
    let pieces = new Int32Array(lengths.length + 2 * this.height + 8);
    let reached = 0;
    eachPiece(lengths, width, (y, from, to) => {
      if ((top + y) % factor) return;
      const row = (top + y) / factor - this.top;
      const begin = Math.max(0, shrink(left + from)), end = Math.min(canvasWidth, shrink(left + to));
      if (row < 0 || row >= this.height || begin >= end) return;
      while (reached <= row) this.starts[reached++] = this.count;
      if (2 * this.count + 2 > pieces.length) {
        const longer = new Int32Array(2 * pieces.length);
        longer.set(pieces);
        pieces = longer;
      }
      pieces[2 * this.count] = begin;
      pieces[2 * this.count + 1] = end;
      this.count += 1;
      if (begin < this.left) this.left = begin;
      if (end > this.right) this.right = end;
    });
    while (reached <= this.height) this.starts[reached++] = this.count;
    this.pieces = pieces;
  }

  each(row, fill) {
    for (let at = this.starts[row]; at < this.starts[row + 1]; at += 1) fill(this.pieces[2 * at], this.pieces[2 * at + 1]);
  }

  // Pieces of the row that are at least `line` pixels away from what is not set, seen along the row
  // and along the column: three rows are compared.
  inside(row, line, fill) {
    if (row < line || row + line >= this.height) return;
    const { pieces, starts } = this;
    const aboveEnd = starts[row - line + 1], belowEnd = starts[row + line + 1];
    let above = starts[row - line], below = starts[row + line];
    for (let at = starts[row]; at < starts[row + 1]; at += 1) {
      const from = pieces[2 * at] + line, to = pieces[2 * at + 1] - line;
      if (from >= to) continue;
      while (above < aboveEnd && pieces[2 * above + 1] <= from) above += 1;
      while (below < belowEnd && pieces[2 * below + 1] <= from) below += 1;
      let a = above, b = below;
      while (a < aboveEnd && b < belowEnd) {
        const begin = Math.max(from, pieces[2 * a], pieces[2 * b]);
        const end = Math.min(to, pieces[2 * a + 1], pieces[2 * b + 1]);
        if (begin < end) fill(begin, end);
        if (pieces[2 * a] >= to || pieces[2 * b] >= to) break;
        if (pieces[2 * a + 1] < pieces[2 * b + 1]) a += 1;
        else b += 1;
      }
    }
  }
}

// "#rrggbb" and an opacity as the bytes of an ImageData in one word.
function word(colour, opacity) {
  const [red, green, blue] = channels(colour);
  const bytes = new Uint8Array([red, green, blue, Math.round(255 * opacity)]);
  return new Uint32Array(bytes.buffer)[0];
}
