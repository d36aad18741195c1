// Sets of frames over one sequence: a flag for each frame, read from texts such as "0-40,57".

export class Sequence {
  // `first`, `last`, `step`: CVAT's own frame numbers; `width`, `height`: pixels.
  constructor({ first, last, step, width, height, missing, labels }) {
    Object.assign(this, { first, last, step: step || 1, width, height, labels: labels ?? [] });
    this.count = Math.floor((last - first) / this.step) + 1;
    this.missing = new FrameSet(this, missing);
  }

  index(frame) { return Math.round((frame - this.first) / this.step); }

  frame(index) { return this.first + index * this.step; }

  // The frame of the sequence that is nearest to any number. Frames without an image are none.
  nearest(number) {
    const index = this.index(Number.isFinite(number) ? number : this.first);
    const frame = this.frame(Math.min(this.count - 1, Math.max(0, index)));
    if (!this.missing.has(frame)) return frame;
    return this.beyond(frame, 1) ?? this.beyond(frame, -1) ?? frame;
  }

  // The frame that comes after `frame` in a direction, 1 or -1; null at the end.
  beyond(frame, direction) {
    for (let next = frame + direction * this.step; next >= this.first && next <= this.last; next += direction * this.step) {
      if (!this.missing.has(next)) return next;
    }
    return null;
  }

  holds(number) {
    return Number.isInteger(number) && number >= this.first && number <= this.last
      && (number - this.first) % this.step === 0 && !this.missing.has(number);
  }
}

export class FrameSet {
  constructor(sequence, frames = "") {
    this.sequence = sequence;
    this.flags = new Uint8Array(sequence.count);
    this.set(frames);
  }

  // `frames`: a text of ranges or a list of numbers.
  set(frames) {
    this.flags.fill(0);
    for (const [from, to] of ranges(frames)) this.mark(from, to, 1);
  }

  mark(from, to, value) {
    const { sequence } = this;
    const start = Math.max(0, Math.ceil((from - sequence.first) / sequence.step));
    const stop = Math.min(sequence.count - 1, Math.floor((to - sequence.first) / sequence.step));
    if (stop >= start) this.flags.fill(value, start, stop + 1);
  }

  add(frame) { this.mark(frame, frame, 1); }

  delete(frame) { this.mark(frame, frame, 0); }

  has(frame) { return this.flags[this.sequence.index(frame)] === 1; }

  // The nearest frame of the set beyond `frame`, or null.
  next(frame, direction) {
    const { sequence, flags } = this;
    for (let i = sequence.index(frame) + direction; i >= 0 && i < flags.length; i += direction) {
      if (flags[i]) return sequence.frame(i);
    }
    return null;
  }
}

export function ranges(frames) {
  if (typeof frames !== "string") return [...frames ?? []].map((frame) => [frame, frame]);
  return frames.split(",").filter((part) => part.trim()).map((part) => {
    const [from, to] = part.split("-").map(Number);
    return [from, to ?? from];
  });
}
