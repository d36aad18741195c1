// Masks as CVAT keeps them, and a store of a layer's masks.
//
// A mask is {object, label, box: [left, top, width, height], runs: "5,3,10,…"}: alternating run
// lengths over its box, row after row, the first of pixels that are not set. Pixels of the sequence.

import { call } from "./api.js";

const CHUNK = 16; // frames asked for at once
const MOST_CHARACTERS = 24 * 2 ** 20; // of run lengths kept, about as many bytes
const AHEAD = 2; // chunks fetched before they are looked at
const COMMA = 44, ZERO = 48;

// "5,3, 10" -> Int32Array [5, 3, 10].
export function parseRuns(text) {
  const runs = new Int32Array(text ? text.length / 2 + 1 : 0);
  let count = 0, number = 0, digits = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === COMMA) { if (digits) runs[count++] = number; number = digits = 0; }
    else if (code >= ZERO && code < ZERO + 10) { number = number * 10 + code - ZERO; digits += 1; }
  }
  if (digits) runs[count++] = number;
  return runs.subarray(0, count);
}

// Whole rows' pieces of a mask: each(y, from, to) with `to` exclusive, in the box's coordinates,
// rows ascending and left to right within one.
export function eachPiece(runs, width, each) {
  let at = 0;
  for (let index = 0; index < runs.length; index += 1) {
    const end = at + runs[index];
    if (index % 2) {
      let y = Math.floor(at / width), from = at - y * width;
      for (let left = end - at; left > 0; y += 1, from = 0) {
        const length = Math.min(left, width - from);
        each(y, from, from + length);
        left -= length;
      }
    }
    at = end;
  }
}

// -> {left, top, width, height, bits}: one byte, 0 or 1, for each pixel of the box.
export function decode({ box: [left, top, width, height], runs }) {
  const bits = new Uint8Array(width * height);
  const lengths = parseRuns(runs);
  for (let index = 0, at = 0; index < lengths.length; at += lengths[index], index += 1) {
    if (index % 2) bits.fill(1, at, at + lengths[index]);
  }
  return { left, top, width, height, bits };
}

// Bits of an area whose upper left pixel lies at `left`, `top` -> {box, runs} with the smallest box
// that holds all that is set; null where nothing is.
export function encode(bits, width, height, left = 0, top = 0) {
  let first = -1, last = -1, from = width, to = -1;
  for (let y = 0; y < height; y += 1) {
    const start = bits.indexOf(1, y * width);
    if (start < 0) break;
    y = Math.floor(start / width); // rows without a set pixel are passed over
    const end = bits.lastIndexOf(1, (y + 1) * width - 1);
    if (first < 0) first = y;
    last = y;
    from = Math.min(from, start - y * width);
    to = Math.max(to, end - y * width);
  }
  if (first < 0) return null;
  const runs = [];
  let value = 0, length = 0;
  for (let y = first; y <= last; y += 1) {
    for (let at = y * width + from, end = y * width + to; at <= end; at += 1) {
      if (bits[at] === value) length += 1;
      else { runs.push(length); value = bits[at]; length = 1; }
    }
  }
  runs.push(length);
  return { box: [left + from, top + first, to - from + 1, last - first + 1], runs: runs.join(",") };
}

// "7,9-12" -> [7, 9, 10, 11, 12].
export function framesOf(text) {
  const frames = [];
  for (const piece of text.split(",").filter(Boolean)) {
    const [from, to = from] = piece.split("-").map(Number);
    for (let frame = from; frame <= to; frame += 1) frames.push(frame);
  }
  return frames;
}

// The masks of one layer of a job, fetched some frames at a time and forgotten when they grow many.
// `first`, `last`, `step`: the frames of the job.
export class MaskStore {
  constructor(jobId, layer, { first = 0, last = Infinity, step = 1 } = {}) {
    this.layer = layer;
    this.path = `/api/jobs/${encodeURIComponent(jobId)}/layers/${encodeURIComponent(layer)}/masks`;
    this.first = first;
    this.last = last;
    this.step = step;
    this.entries = new Map(); // frame -> entry, the longest unused first
    this.asked = new Map(); // chunk -> {promise, stale}
    this.characters = 0;
  }

  // The entry if it is here already, else undefined.
  peek(frame) {
    const entry = this.entries.get(frame);
    if (entry) { this.entries.delete(frame); this.entries.set(frame, entry); }
    return entry;
  }

  // -> {frame, key, masks: [...]}. Throws an Error with one sentence.
  async get(frame) {
    for (;;) {
      const entry = this.peek(frame);
      if (entry) return entry;
      const asked = this.#ask(this.#chunk(frame));
      await asked.promise;
      // What was changed while the answer was on its way is asked for again.
      if (!this.entries.has(frame) && !asked.stale.has(frame) && !asked.all) return { frame, key: false, masks: [] };
    }
  }

  // Fetch what comes next in `direction`, 1 or -1. What fails is told when it is looked at.
  prefetch(frame, direction = 1) {
    for (let away = 1; away <= AHEAD; away += 1) {
      const next = frame + direction * away * (CHUNK / 2) * this.step;
      if (next < this.first || next > this.last || this.entries.has(next)) continue;
      this.#ask(this.#chunk(next)).promise.catch(() => {});
    }
  }

  // Put in what is known already, such as what a step answered.
  put(entry) {
    this.#drop(entry.frame);
    for (const asked of this.asked.values()) asked.stale.add(entry.frame);
    this.#keep(entry);
  }

  // Forget frames: numbers, a text such as "31-40", or all of them.
  invalidate(frames) {
    if (frames === undefined) {
      this.entries.clear();
      this.characters = 0;
      for (const asked of this.asked.values()) asked.all = true;
      return;
    }
    for (const frame of typeof frames === "string" ? framesOf(frames) : frames) {
      this.#drop(frame);
      for (const asked of this.asked.values()) asked.stale.add(frame);
    }
  }

  #chunk(frame) { return Math.floor((frame - this.first) / this.step / CHUNK); }

  #ask(chunk) {
    const present = this.asked.get(chunk);
    if (present) return present;
    const from = this.first + chunk * CHUNK * this.step;
    const to = Math.min(this.last, from + (CHUNK - 1) * this.step);
    const asked = { stale: new Set(), all: false, promise: null };
    asked.promise = call("GET", `${this.path}?from=${from}&to=${to}`).then(({ frames }) => {
      if (asked.all) return;
      for (const entry of frames) {
        if (!asked.stale.has(entry.frame) && !this.entries.has(entry.frame)) this.#keep(entry);
      }
    }).finally(() => this.asked.delete(chunk));
    this.asked.set(chunk, asked);
    return asked;
  }

  #keep(entry) {
    this.entries.set(entry.frame, entry);
    this.characters += size(entry);
    for (const [frame] of this.entries) {
      if (this.characters <= MOST_CHARACTERS || this.entries.size <= 2 * CHUNK) break;
      this.#drop(frame);
    }
  }

  #drop(frame) {
    const entry = this.entries.get(frame);
    if (!entry) return;
    this.entries.delete(frame);
    this.characters -= size(entry);
  }
}

function size(entry) {
  return entry.masks.reduce((sum, mask) => sum + mask.runs.length, 200);
}
