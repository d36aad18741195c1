// The pictures of a job's frames, decoded and kept while they fit.

import { toSignIn } from "./api.js";

const MOST_PIXELS = 48 * 2 ** 20; // about 190 MB of decoded pictures
const FEWEST = 3; // frames, however large
const AT_ONCE = 4; // requests
const AHEAD = 8; // frames
// Masks lie in the grid in which pixels are stored, whatever way up a camera meant them.
const AS_STORED = { imageOrientation: "none" };

export class ImageStore {
  // `width`: pictures are scaled down to it; 0 takes them as they are. `version`: the images' digest,
  // with which a browser may keep them for good. `most`: pixels kept; `missing`: a Set of frames without an image.
  constructor(jobId, width, version = "", { first = 0, last = Infinity, step = 1, most = MOST_PIXELS, missing = new Set() } = {}) {
    this.path = `/api/jobs/${encodeURIComponent(jobId)}/frames/`;
    this.query = new URLSearchParams({ ...(width && { width }), ...(version && { v: version }) }).toString();
    this.first = first;
    this.last = last;
    this.step = step;
    this.most = most;
    this.missing = missing;
    this.bitmaps = new Map(); // frame -> ImageBitmap, the longest unused first
    this.asked = new Map(); // frame -> promise
    this.queue = []; // frames wanted soon
    this.pixels = 0;
    this.closed = false;
  }

  peek(frame) {
    const bitmap = this.bitmaps.get(frame);
    if (bitmap) { this.bitmaps.delete(frame); this.bitmaps.set(frame, bitmap); }
    return bitmap;
  }

  // -> ImageBitmap, which lives until some other frames were looked at; null where the frame has no
  // image. Throws an Error with one sentence.
  async get(frame) {
    return this.missing.has(frame) ? null : this.peek(frame) ?? this.#fetch(frame);
  }

  // Fetch the frames that come next in `direction`, 1 or -1; earlier wishes are forgotten.
  prefetch(frame, direction = 1) {
    this.queue = [];
    const [bitmap] = this.bitmaps.values();
    const room = bitmap ? Math.floor(this.most / (2 * bitmap.width * bitmap.height)) : AHEAD;
    for (let away = 1; away <= Math.min(AHEAD, room); away += 1) {
      const next = frame + direction * away * this.step;
      if (next >= this.first && next <= this.last && !this.bitmaps.has(next) && !this.missing.has(next)) this.queue.push(next);
    }
    this.#pump();
  }

  close() {
    this.closed = true;
    this.queue = [];
    for (const bitmap of this.bitmaps.values()) bitmap.close();
    this.bitmaps.clear();
    this.pixels = 0;
  }

  #pump() {
    while (this.queue.length && this.asked.size < AT_ONCE) {
      const frame = this.queue.shift();
      // What fails here is told when the frame is looked at; what comes after it would fail too.
      if (!this.bitmaps.has(frame)) this.#fetch(frame).catch(() => { this.queue = []; });
    }
  }

  #fetch(frame) {
    const present = this.asked.get(frame);
    if (present) return present;
    const asked = this.#load(frame).finally(() => { this.asked.delete(frame); this.#pump(); });
    this.asked.set(frame, asked);
    return asked;
  }

  async #load(frame) {
    let response;
    try {
      response = await fetch(`${this.path}${frame}.jpg${this.query && `?${this.query}`}`, { credentials: "same-origin" });
    } catch {
      throw new Error("The server cannot be reached. Is it running?");
    }
    if (response.status === 401) toSignIn();
    if (!response.ok) {
      const said = await response.json().catch(() => ({}));
      throw new Error(said.error || `Frame ${frame} cannot be shown: the server answered ${response.status}.`);
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(await response.blob(), AS_STORED);
    } catch {
      throw new Error(`The picture of frame ${frame} cannot be read.`);
    }
    if (!this.closed) this.#keep(frame, bitmap);
    return bitmap;
  }

  #keep(frame, bitmap) {
    this.bitmaps.set(frame, bitmap);
    this.pixels += bitmap.width * bitmap.height;
    for (const [oldest, old] of this.bitmaps) {
      if (this.pixels <= this.most || this.bitmaps.size <= FEWEST) break;
      this.bitmaps.delete(oldest);
      this.pixels -= old.width * old.height;
      old.close();
    }
  }
}
