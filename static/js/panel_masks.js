// The masks of a live session: far frames come some at a time, those that change one by one.

import { call } from "./api.js";
import { MaskStore } from "./masks.js";
import { ranges } from "./panel_frames.js";

const MOST_SINGLE = 64; // frames of one change that are worth asking for one by one

export class SessionMasks {
  constructor(job, sequence) {
    this.path = `/api/jobs/${encodeURIComponent(job)}/session/frames/`;
    this.sequence = sequence;
    this.store = new MaskStore(job, "session", sequence);
    this.changed = new Set(); // frames to be asked for by themselves
    this.versions = new Map(); // frame -> version of what was put in
    this.asked = new Map(); // frame -> promise
  }

  // -> {frame, key, masks}. Throws an Error with one sentence.
  async get(frame) {
    const here = this.store.peek(frame);
    if (here) return here;
    if (!this.changed.has(frame)) return this.store.get(frame);
    const present = this.asked.get(frame);
    if (present) return present;
    const asked = call("GET", `${this.path}${frame}`)
      .then((entry) => {
        if (this.asked.get(frame) !== asked) return this.get(frame); // changed again meanwhile
        this.put(entry);
        return entry;
      })
      .finally(() => { if (this.asked.get(frame) === asked) this.asked.delete(frame); });
    this.asked.set(frame, asked);
    return asked;
  }

  prefetch(frame, direction) { this.store.prefetch(frame, direction); }

  // Put in what the server answered.
  put(entry) {
    this.asked.delete(entry.frame);
    this.changed.delete(entry.frame);
    this.versions.set(entry.frame, entry.version ?? 0);
    this.store.put(entry);
  }

  // Frames changed: forget them, but for those that are here as of `version` already.
  // -> whether `shown` is among the forgotten ones.
  forget(frames, version, shown) {
    let touched = false;
    const { step } = this.sequence;
    for (const [from, to] of ranges(frames)) {
      const many = (to - from) / step > MOST_SINGLE;
      for (let f = this.sequence.nearest(from); f <= to; f += step) {
        if ((this.versions.get(f) ?? -1) >= version) continue;
        this.store.invalidate([f]);
        this.asked.delete(f);
        if (many) this.changed.delete(f); else this.changed.add(f);
        touched ||= f === shown;
      }
    }
    return touched;
  }
}
