// All frames as one strip: what is a key frame, what is computed, where divergence is high.

import { call } from "./api.js";

const CALM = 1500; // milliseconds between two readings of the scores
const UNKNOWN = 255;
const COLOURS = ["sunk", "line", "accent", "accent-soft", "heat", "ink"];

export class Strip {
  // `go(frame)`: the frame that was pointed at is to be shown.
  constructor({ canvas, session, sequence, go, describe }) {
    Object.assign(this, { canvas, session, sequence, go, describe });
    this.context = canvas.getContext("2d");
    this.scores = new Uint8Array(sequence.count).fill(UNKNOWN);
    this.frame = sequence.first;
    this.request = 0;
    this.timer = 0;
    canvas.setAttribute("aria-valuemin", sequence.first);
    canvas.setAttribute("aria-valuemax", sequence.last);
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.#listen();
  }

  at(frame) {
    this.frame = frame;
    this.canvas.setAttribute("aria-valuenow", frame);
    this.canvas.setAttribute("aria-valuetext", this.describe());
    this.redraw();
  }

  // Read the scores again, soon and not too often.
  soon() {
    this.timer ||= setTimeout(() => { this.timer = 0; this.read(); }, CALM);
  }

  async read() {
    let timeline;
    try {
      timeline = await call("GET", `/api/jobs/${encodeURIComponent(this.session.job)}/layers/session/timeline`);
    } catch { return; } // the strip says less then; what failed is told where frames are asked for
    this.scores.fill(UNKNOWN);
    for (const { scores } of timeline.objects) {
      const bytes = Uint8Array.from(atob(scores), (character) => character.charCodeAt(0));
      bytes.forEach((score, i) => {
        if (score !== UNKNOWN && (this.scores[i] === UNKNOWN || score > this.scores[i])) this.scores[i] = score;
      });
    }
    this.worst = timeline.worst ?? [];
    this.redraw();
  }

  // Of the worst frames the one after `frame`, in the order of how much a correction repairs.
  nextWorst(frame) {
    const frames = (this.worst ?? []).map((each) => each.frame);
    return frames.length ? frames[(frames.indexOf(frame) + 1) % frames.length] : null;
  }

  redraw() {
    this.request ||= requestAnimationFrame(() => { this.request = 0; this.#draw(); });
  }

  #draw() {
    const { canvas, context, session, sequence } = this;
    const ratio = globalThis.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const style = getComputedStyle(canvas);
    const colour = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    const each = width / sequence.count, low = height - 6 * ratio;
    context.fillStyle = colour.sunk;
    context.fillRect(0, 0, width, height);
    for (let x = 0; x < width; x += 1) {
      // What one column of pixels stands for: all frames that fall on it, at least one.
      const from = Math.floor(x / each), to = Math.max(from + 1, Math.min(sequence.count, Math.floor((x + 1) / each)));
      let computed = 0, outdated = 0, worst = -1;
      for (let i = from; i < to; i += 1) {
        computed |= session.computed.flags[i];
        outdated |= session.outdated.flags[i];
        if (this.scores[i] !== UNKNOWN) worst = Math.max(worst, this.scores[i]);
      }
      if (computed) { context.fillStyle = outdated ? colour.line : colour["accent-soft"]; context.fillRect(x, 0, 1, height); }
      if (worst > 12) {
        context.globalAlpha = Math.min(1, 0.15 + worst / 220);
        context.fillStyle = colour.heat;
        context.fillRect(x, low * (1 - Math.min(1, worst / 200)), 1, height);
        context.globalAlpha = 1;
      }
    }
    context.fillStyle = colour.accent;
    session.keys.flags.forEach((key, i) => {
      if (key) context.fillRect(Math.round(i * each), 0, Math.max(2 * ratio, Math.round(each)), height);
    });
    if (session.accepted?.until != null) {
      context.fillStyle = colour.accent;
      context.fillRect(0, height - 3 * ratio, (sequence.index(session.accepted.until) + 1) * each, 3 * ratio);
    }
    const x = (sequence.index(this.frame) + 0.5) * each;
    context.fillStyle = colour.ink;
    context.fillRect(Math.round(x - ratio), 0, 2 * ratio, height);
    context.beginPath();
    context.moveTo(x - 5 * ratio, 0);
    context.lineTo(x + 5 * ratio, 0);
    context.lineTo(x, 6 * ratio);
    context.fill();
  }

  #listen() {
    const { canvas, sequence } = this;
    const pointed = (event) => {
      const box = canvas.getBoundingClientRect();
      return sequence.nearest(sequence.frame(Math.floor(((event.clientX - box.left) / box.width) * sequence.count)));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.go(pointed(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const frame = pointed(event);
      canvas.title = `Frame ${frame}${this.scores[sequence.index(frame)] === UNKNOWN ? "" : `, divergence ${(this.scores[sequence.index(frame)] / 254).toFixed(2)}`}`;
      if (canvas.hasPointerCapture(event.pointerId) && frame !== this.frame) this.go(frame);
    });
  }
}
