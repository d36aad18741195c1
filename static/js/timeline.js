// The timeline: one lane for each object over all frames. Only what is in sight is drawn.

import { columnsOf, paintLane, paintRuler, palette, ROW } from "./timeline_paint.js";

const LEAST = 12; // frames in sight at most magnification
const SHOWN = 6; // lanes, the others by scrolling or by making the box larger
const CLICK = 4; // CSS pixels that a click may move
const WORDS = ["not there", "computed", "key frame", "carried over"];

// Events: "goto" (detail: frame), "select" (detail: lane), "range" (detail: {lanes, from, to} or null).
export class Timeline extends EventTarget {
  constructor(root) {
    super();
    this.root = root;
    this.ruler = root.querySelector("#ruler");
    this.scroll = root.querySelector("#lanes-scroll");
    this.list = root.querySelector("#lanes");
    this.canvas = root.querySelector("#lane-canvas");
    this.playhead = root.querySelector("#playhead");
    this.tip = root.querySelector("#tip");
    this.data = null;
    this.view = { from: 0, to: 1 };
    this.place = 0;
    this.range = null; // {first, last: rows, from, to: places}
    this.request = 0;
    this.left = this.width = 0; // of the lanes, in CSS pixels
    this.#listen();
  }

  // `data`: answer of GET timeline; lanes carry presence and scores as bytes. Zoom and place stay.
  set(data) {
    const { count = 0 } = this.data ?? {};
    this.data = data;
    if (count !== data.count) this.view = { from: 0, to: data.count };
    this.ruler.setAttribute("aria-valuemin", data.first);
    this.ruler.setAttribute("aria-valuemax", data.last);
    if (this.range && this.range.last >= data.lanes.length) this.choose(null);
    this.root.style.setProperty("--lanes", Math.max(2, Math.min(SHOWN, data.lanes.length)));
    this.fit();
  }

  // Where the player is.
  at(frame) {
    if (!this.data) return;
    this.place = (frame - this.data.first) / this.data.step;
    this.ruler.setAttribute("aria-valuenow", frame);
    this.ruler.setAttribute("aria-valuetext", `Frame ${frame}`);
    const { from, to } = this.view;
    if (this.place < from || this.place >= to) this.#look(this.place - (to - from) * 0.1);
    this.#head();
  }

  choose(range) {
    this.range = range;
    this.redraw();
    if (!range) { this.dispatchEvent(new CustomEvent("range", { detail: null })); return; }
    const { first, step, lanes } = this.data;
    const detail = { lanes: lanes.slice(range.first, range.last + 1), from: first + range.from * step, to: first + range.to * step };
    this.dispatchEvent(new CustomEvent("range", { detail }));
  }

  // By a factor around a place, by default that of the player.
  zoom(factor, around = this.place) {
    if (!this.data) return;
    const { from, to } = this.view, { count } = this.data;
    const size = Math.min(count, Math.max(Math.min(LEAST, count), (to - from) / factor));
    this.#look(around - ((around - from) * size) / (to - from), size);
  }

  fit() {
    const { root, scroll } = this;
    root.style.setProperty("--gutter", `${scroll.offsetWidth - scroll.clientWidth}px`); // ruler and lanes end alike
    this.canvas.style.height = `${Math.min(this.scroll.clientHeight, Math.max(ROW, this.list.clientHeight))}px`;
    for (const canvas of [this.ruler, this.canvas]) {
      canvas.width = Math.max(1, Math.round(canvas.clientWidth * this.ratio));
      canvas.height = Math.max(1, Math.round(canvas.clientHeight * this.ratio));
    }
    // Kept: asking for them at every frame would lay out the page each time.
    this.left = this.canvas.offsetLeft;
    this.width = this.canvas.clientWidth;
    this.redraw();
  }

  redraw() { this.request ||= requestAnimationFrame(() => { this.request = 0; this.#draw(); }); }

  get ratio() { return globalThis.devicePixelRatio || 1; }

  #look(from, size = this.view.to - this.view.from) {
    const begin = Math.max(0, Math.min(this.data.count - size, from));
    this.view = { from: begin, to: begin + size };
    this.redraw();
  }

  #draw() {
    if (!this.data) return;
    const { data, view, ratio, canvas, ruler } = this;
    const colours = (this.colours ??= palette(this.root));
    const placeOf = (frame) => (frame - data.first) / data.step;
    paintRuler(ruler.getContext("2d"), {
      view, ratio, width: ruler.width, height: ruler.height, first: data.first, step: data.step,
      keys: data.key_frames.map(placeOf), worst: data.worst.map(({ frame }) => placeOf(frame)),
    }, colours);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const columns = columnsOf(view, canvas.width, data.count);
    const top = this.scroll.scrollTop;
    for (let row = Math.floor(top / ROW); row < data.lanes.length && row * ROW < top + canvas.clientHeight; row += 1) {
      const y = Math.round((row * ROW - top) * ratio);
      if (data.lanes[row].isSelected) {
        context.fillStyle = colours.wash;
        context.fillRect(0, y, canvas.width, ROW * ratio);
      }
      context.globalAlpha = data.lanes[row].isHidden ? 0.35 : 1;
      paintLane(context, data.lanes[row], { view, columns, top: y, ratio }, colours);
      context.globalAlpha = 1;
    }
    if (this.range) this.#paintRange(context, top, colours);
    this.#head();
  }

  #paintRange(context, top, colours) {
    const { range, ratio, canvas } = this;
    const left = this.#x(range.from), right = this.#x(range.to + 1);
    const box = [left * ratio, (range.first * ROW - top) * ratio, (right - left) * ratio, (range.last - range.first + 1) * ROW * ratio];
    context.globalAlpha = 0.18;
    context.fillStyle = colours.accent;
    context.fillRect(...box);
    context.globalAlpha = 1;
    context.strokeStyle = colours.accent;
    context.lineWidth = 1.5 * ratio;
    context.strokeRect(...box);
  }

  #head() {
    const x = this.#x(this.place + 0.5);
    this.playhead.hidden = x < 0 || x > this.width;
    this.playhead.style.transform = `translateX(${this.left + x}px)`;
  }

  // Place -> CSS pixels from the left edge of the lanes, and back.
  #x(place) { return ((place - this.view.from) * this.width) / (this.view.to - this.view.from); }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = Math.floor(this.view.from + ((event.clientX - box.left) * (this.view.to - this.view.from)) / box.width);
    return Math.min(this.data.count - 1, Math.max(0, place));
  }

  #row(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top + this.scroll.scrollTop) / ROW);
    return Math.min(this.data.lanes.length - 1, Math.max(0, row));
  }

  #goto(place) { this.dispatchEvent(new CustomEvent("goto", { detail: this.data.first + place * this.data.step })); }

  #listen() {
    const { ruler, canvas, scroll } = this;
    new ResizeObserver(() => this.fit()).observe(scroll);
    scroll.addEventListener("scroll", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.colours = null; this.redraw(); });
    for (const element of [ruler, canvas]) {
      element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
      element.addEventListener("pointermove", (event) => this.#hover(event, element === canvas));
      element.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    }
    ruler.addEventListener("pointerdown", (event) => {
      if (!this.data || event.button !== 0) return;
      ruler.setPointerCapture(event.pointerId);
      this.#goto(this.#place(event));
    });
    ruler.addEventListener("pointermove", (event) => { if (this.data && ruler.hasPointerCapture(event.pointerId)) this.#goto(this.#place(event)); });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
  }

  // A click goes to the frame and selects the lane; a drag chooses a range of frames and lanes.
  #press(event) {
    if (!this.data?.lanes.length || event.button !== 0) return;
    const { canvas } = this;
    const began = { place: this.#place(event), row: this.#row(event), x: event.clientX };
    let isDrag = false;
    canvas.setPointerCapture(event.pointerId);
    const move = (now) => {
      isDrag ||= Math.abs(now.clientX - began.x) > CLICK;
      if (!isDrag) return;
      const place = this.#place(now), row = this.#row(now);
      this.choose({
        first: Math.min(began.row, row), last: Math.max(began.row, row),
        from: Math.min(began.place, place), to: Math.max(began.place, place),
      });
    };
    const end = (now) => {
      canvas.removeEventListener("pointermove", move);
      for (const name of ["pointerup", "pointercancel"]) canvas.removeEventListener(name, end);
      if (isDrag || now.type === "pointercancel") return;
      this.dispatchEvent(new CustomEvent("select", { detail: this.data.lanes[began.row] }));
      this.#goto(began.place);
    };
    canvas.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, end);
  }

  #wheel(event) {
    if (!this.data) return;
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) this.zoom(Math.exp(-event.deltaY * 0.004), this.#place(event) + 0.5);
    else if (sideways) this.#look(this.view.from + (sideways * (this.view.to - this.view.from)) / this.canvas.clientWidth);
    else return; // up and down scrolls the lanes
    event.preventDefault();
  }

  #hover(event, onLanes) {
    const { tip, data } = this;
    if (!data || event.pointerType === "touch") return;
    const place = this.#place(event);
    const lane = onLanes ? data.lanes[this.#row(event)] : null;
    const score = lane && lane.presence[place] !== 0 ? lane.scores[place] : 255;
    const parts = [`Frame ${data.first + place * data.step}`];
    if (lane) parts.push(lane.name, WORDS[lane.presence[place]] ?? "");
    if (score !== 255) parts.push(`divergence ${(score / 254).toFixed(2)}`);
    tip.textContent = parts.join(" · ");
    tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const x = Math.min(box.width - tip.offsetWidth - 4, Math.max(4, event.clientX - box.left + 12));
    tip.style.transform = `translate(${x}px, ${event.clientY - box.top - tip.offsetHeight - 12}px)`;
  }
}

// base64 -> bytes.
export function bytesOf(text) { return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)); }
