// The pictures of a job's frames, decoded and kept while they fit.

import { toSignIn } from "./api.js";

const MOST_PIXELS = 48 * 2 ** 20; // about 190 MB of decoded pictures
const FEWEST = 12; // frames, however large
const AT_ONCE = 4; // requests
const AHEAD = 8; // frames

export class ImageStore {
  // `width`: pictures are scaled down to it; 0 takes them as they are. `version`: the images' digest,
  // with which a browser may keep them for good.
  constructor(jobId, width, version = "", { first = 0, last = Infinity, step = 1 } = {}) {
    this.path = `/api/jobs/${encodeURIComponent(jobId)}/frames/`;
    this.query = new URLSearchParams({ ...(width && { width }), ...(version && { v: version }) }).toString();
    this.first = first;
    this.last = last;
    this.step = step;
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

  // -> ImageBitmap, which lives until some other frames were looked at. Throws an Error with one
  // sentence.
  async get(frame) {
    return this.peek(frame) ?? this.#fetch(frame);
  }

  // Fetch the frames that come next in `direction`, 1 or -1; earlier wishes are forgotten.
  prefetch(frame, direction = 1) {
    this.queue = [];
    for (let away = 1; away <= AHEAD; away += 1) {
      const next = frame + direction * away * this.step;
      if (next >= this.first && next <= this.last && !this.bitmaps.has(next)) this.queue.push(next);
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
      // What fails here is told when the frame is looked at.
      if (!this.bitmaps.has(frame)) this.#fetch(frame).catch(() => {});
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
      bitmap = await createImageBitmap(await response.blob());
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
      if (this.pixels <= MOST_PIXELS || this.bitmaps.size <= FEWEST) break;
      this.bitmaps.delete(oldest);
      this.pixels -= old.width * old.height;
      old.close();
    }
  }
}
