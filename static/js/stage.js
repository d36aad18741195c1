// A canvas that shows one frame with its masks. Zoom and position stay while frames change.
//
// Coordinates are pixels of the sequence ("frame coordinates"), whatever size the pictures come in.

import { Overlay } from "./overlay.js";

const MOST_SCALE = 48; // device pixels for one of the frame
const MARGIN = 0.35; // of the pane that a picture may be pulled away from its edge
const GRIP = 14; // CSS pixels around the divider of a wipe
const GAP = 2; // CSS pixels between two sides
const LINE = 1.5; // CSS pixels of an outline
const LOOK = { opacity: 0.45, outlines: true, hidden: new Set(), colours: new Map(), selected: null, masks: true };

export class Stage extends EventTarget {
  // `dragPans`: the first mouse button moves the picture too, where no tool needs it.
  constructor(host, { dragPans = false } = {}) {
    super();
    this.host = host;
    this.dragPans = dragPans;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "stage-canvas";
    this.canvas.setAttribute("role", "img");
    this.describe("No frame is here yet");
    host.append(this.canvas);
    this.context = this.canvas.getContext("2d");
    this.picture = new OffscreenCanvas(1, 1);
    this.hasPicture = false;
    this.width = this.height = 0;
    this.entry = null;
    this.looks = { ...LOOK };
    this.comparing = { mode: "off", entry: null, at: 0.5 };
    this.overlays = [new Overlay(), new Overlay()];
    this.view = { scale: 1, x: 0, y: 0 }; // device pixels for one of the frame; its corner in a pane
    this.isFitted = true;
    this.painters = [];
    this.waiting = []; // who waits for the next drawing
    this.request = 0;
    this.space = { down: false, took: false };
    this.pointers = new Map(); // pressed ones that move the view or may yet: id -> last event
    this.moving = new Set(); // ids of those that do
    this.wiping = false;
    this.#listen();
  }

  setSize(width, height) {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    this.isFitted = true;
    this.#resize();
  }

  // `bitmap`: null where there is no picture. It is copied, so that it may be closed afterwards.
  show(bitmap, entry) {
    this.hasPicture = bitmap !== null;
    if (bitmap) {
      if (this.picture.width !== bitmap.width || this.picture.height !== bitmap.height) {
        this.picture.width = bitmap.width;
        this.picture.height = bitmap.height;
      }
      this.picture.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    }
    this.entry = entry;
    this.redraw();
  }

  // Any of: opacity (0 to 1), outlines, masks (false hides all), hidden: Set of objects, colours: Map
  // from object to "#rrggbb", selected: object. Masks of no object (0) go by their label instead.
  look(changes) {
    this.looks = { ...this.looks, ...changes };
    this.redraw();
  }

  // mode "off", "side" or "wipe"; `entry`: the other masks; `at`: where a wipe's divider stands.
  compare(changes) {
    const { mode } = this.comparing;
    this.comparing = { ...this.comparing, ...changes };
    if (this.comparing.mode !== mode) this.#resize();
    this.redraw();
  }

  // What a screen reader says instead of the picture.
  describe(text) { this.canvas.setAttribute("aria-label", text); }

  // `x`, `y`: client coordinates that stay where they are; by default the middle of the stage.
  zoomAt(factor, x, y) {
    const { pane, left, top } = this.#place(x, y);
    const { view } = this;
    const scale = Math.min(Math.max(MOST_SCALE, this.#fitting()), Math.max(this.#fitting(), view.scale * factor));
    const grown = scale / view.scale;
    view.x = left - pane.x - (left - pane.x - view.x) * grown;
    view.y = top - (top - view.y) * grown;
    view.scale = scale;
    this.isFitted = scale <= this.#fitting() * 1.0001;
    this.#moved();
  }

  // By CSS pixels.
  pan(dx, dy) {
    this.view.x += dx * this.ratio;
    this.view.y += dy * this.ratio;
    this.#moved();
  }

  fit() {
    this.isFitted = true;
    this.#resize();
  }

  // CSS pixels for one of the frame.
  get scale() { return this.view.scale / this.ratio; }

  // Client coordinates -> [x, y] in the frame, with fractions; may lie outside of it.
  toFrame(clientX, clientY) {
    const { pane, left, top } = this.#place(clientX, clientY);
    return [(left - pane.x - this.view.x) / this.view.scale, (top - this.view.y) / this.view.scale];
  }

  // [x, y] in the frame -> client coordinates, of the first pane.
  toClient(x, y) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [left + (x * this.view.scale + this.view.x) / this.ratio, top + (y * this.view.scale + this.view.y) / this.ratio];
  }

  // `paint(context, scale)` draws on top of all, in frame coordinates; `scale`: CSS pixels for one of
  // the frame. Returns a function that ends it.
  onPaint(paint) {
    this.painters.push(paint);
    this.redraw();
    return () => { this.painters = this.painters.filter((each) => each !== paint); this.redraw(); };
  }

  redraw() {
    this.request ||= requestAnimationFrame(() => { this.request = 0; this.#draw(); });
  }

  // Resolves once all that was asked for is drawn.
  drawn() {
    this.redraw();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  // Whether the space bar moved the picture since it was pressed; then it meant nothing else.
  tookSpace() { return this.space.took; }

  get ratio() { return globalThis.devicePixelRatio || 1; }

  #panes() {
    const { width, height } = this.canvas;
    if (this.comparing.mode !== "side") return [{ x: 0, width, height }];
    const half = Math.floor((width - GAP * this.ratio) / 2);
    return [{ x: 0, width: half, height }, { x: width - half, width: half, height }];
  }

  #place(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const panes = this.#panes();
    const left = clientX === undefined ? panes[0].width / 2 : (clientX - box.left) * this.ratio;
    const top = clientY === undefined ? panes[0].height / 2 : (clientY - box.top) * this.ratio;
    return { pane: panes.findLast((each) => each.x <= left) ?? panes[0], left, top };
  }

  #fitting() {
    const [pane] = this.#panes();
    return Math.min(pane.width / this.width, pane.height / this.height) || 1;
  }

  #resize() {
    const width = Math.max(1, Math.round(this.host.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(this.host.clientHeight * this.ratio));
    const { view } = this;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      view.x += (width - this.canvas.width) / 2;
      view.y += (height - this.canvas.height) / 2;
      this.canvas.width = width;
      this.canvas.height = height;
    }
    if (this.isFitted) view.scale = this.#fitting();
    this.#moved();
  }

  #moved() {
    const [pane] = this.#panes();
    const keep = (value, size, room) => (size <= room ? (room - size) / 2
      : Math.min(MARGIN * room, Math.max(room - size - MARGIN * room, value)));
    if (this.isFitted) this.view.x = this.view.y = 0;
    this.view.x = keep(this.view.x, this.width * this.view.scale, pane.width);
    this.view.y = keep(this.view.y, this.height * this.view.scale, pane.height);
    // A finger scrolls the page where there is nothing to move.
    this.canvas.classList.toggle("zoomed", !this.isFitted);
    this.dispatchEvent(new Event("view"));
    this.redraw();
  }

  #draw() {
    const { context, canvas, comparing } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.width) {
      const panes = this.#panes();
      const divider = Math.round(comparing.at * canvas.width);
      panes.forEach((pane, index) => this.#pane(pane, comparing.mode === "wipe" ? divider : null, index));
      if (comparing.mode === "wipe") this.#divide(divider);
    }
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  #pane(pane, divider, index) {
    const { context, view, width, height } = this;
    const into = (from, to, draw) => {
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, pane.height);
      context.clip();
      context.setTransform(view.scale, 0, 0, view.scale, pane.x + view.x, view.y);
      draw();
      context.restore();
    };
    const end = pane.x + pane.width;
    into(pane.x, end, () => {
      if (this.hasPicture) {
        context.imageSmoothingEnabled = view.scale * width < 2 * this.picture.width;
        context.drawImage(this.picture, 0, 0, width, height);
      } else {
        context.fillStyle = "#1b1c1b"; // masks alone are seen on dark ground
        context.fillRect(0, 0, width, height);
      }
    });
    if (divider === null) into(pane.x, end, () => this.#masks(index));
    else {
      into(pane.x, divider, () => this.#masks(0));
      into(divider, end, () => this.#masks(1));
    }
    into(pane.x, end, () => { for (const paint of this.painters) { context.save(); paint(context, this.scale); context.restore(); } });
  }

  #masks(index) {
    const entry = index === 0 ? this.entry : this.comparing.entry;
    if (!entry || !this.looks.masks) return;
    const { context, view, width, height } = this;
    const factor = Math.max(1, Math.floor(1 / view.scale));
    const line = this.looks.outlines ? Math.max(1, Math.round((LINE * this.ratio) / (view.scale * factor))) : 0;
    const overlay = this.overlays[index];
    overlay.draw(entry, width, height, factor, line, this.looks);
    context.imageSmoothingEnabled = view.scale * factor < 1;
    context.drawImage(overlay.canvas, 0, 0, overlay.canvas.width * factor, overlay.canvas.height * factor);
  }

  #divide(at) {
    const { context, canvas, ratio } = this;
    context.fillStyle = "rgb(0 0 0 / 45%)";
    context.fillRect(at - 1.5 * ratio, 0, 3 * ratio, canvas.height);
    context.fillStyle = "#fff";
    context.fillRect(at - 0.5 * ratio, 0, ratio, canvas.height);
    context.beginPath();
    context.arc(at, canvas.height / 2, 9 * ratio, 0, 2 * Math.PI);
    context.fill();
    context.strokeStyle = "#333";
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    for (const side of [-1, 1]) {
      context.moveTo(at + side * 2.5 * ratio, canvas.height / 2 - 3 * ratio);
      context.lineTo(at + side * 5.5 * ratio, canvas.height / 2);
      context.lineTo(at + side * 2.5 * ratio, canvas.height / 2 + 3 * ratio);
    }
    context.stroke();
  }

  #listen() {
    const { canvas } = this;
    new ResizeObserver(() => this.#resize()).observe(this.host);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      this.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX, event.clientY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.#release(event));
    }
    addEventListener("keydown", (event) => {
      if (event.code !== "Space" || event.repeat) return;
      this.space = { down: true, took: false };
    });
    addEventListener("keyup", (event) => { if (event.code === "Space") this.space.down = false; });
    addEventListener("blur", () => { this.space.down = false; });
  }

  #isAtDivider(event) {
    if (this.comparing.mode !== "wipe") return false;
    const box = this.canvas.getBoundingClientRect();
    return Math.abs(event.clientX - box.left - this.comparing.at * box.width) <= GRIP;
  }

  #press(event) {
    const isFirst = event.button === 0;
    const isTouch = event.pointerType === "touch";
    this.wiping = isFirst && !this.space.down && this.pointers.size === 0 && this.#isAtDivider(event);
    const moves = this.wiping || event.button === 1 || (isFirst && (this.space.down || this.dragPans || (isTouch && this.pointers.size > 0)));
    // A first finger may draw; a second one makes a pinch of both.
    if (moves || isTouch) this.pointers.set(event.pointerId, event);
    if (!moves) return;
    if (this.space.down) this.space.took = true;
    event.preventDefault(); // no scrolling by the middle button
    this.moving.add(event.pointerId);
    this.canvas.setPointerCapture(event.pointerId);
    this.#cursor(event);
  }

  #release(event) {
    this.pointers.delete(event.pointerId);
    this.moving.delete(event.pointerId);
    this.wiping = false;
    this.#cursor(event);
  }

  #drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) { this.#cursor(event); return; }
    this.pointers.set(event.pointerId, event);
    const box = this.canvas.getBoundingClientRect();
    if (this.wiping) {
      const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.compare({ at });
      this.dispatchEvent(new CustomEvent("wipe", { detail: at }));
    } else if (this.pointers.size === 2) {
      const [other] = [...this.pointers.values()].filter((each) => each.pointerId !== event.pointerId);
      const apart = (one) => Math.max(8, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
      const x = (event.clientX + other.clientX) / 2, y = (event.clientY + other.clientY) / 2;
      this.pan((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
      this.zoomAt(apart(event) / apart(before), x, y);
    } else if (this.isMoving(event)) this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
  }

  // Whether this pointer moves the view, so that no tool may draw with it.
  isMoving(event) {
    return this.pointers.size > 1 || this.moving.has(event.pointerId);
  }

  #cursor(event) {
    const { canvas } = this;
    canvas.classList.toggle("wiping", this.wiping || this.#isAtDivider(event));
    canvas.classList.toggle("panning", !this.wiping && this.isMoving(event));
    canvas.classList.toggle("movable", this.dragPans && !this.isFitted);
  }
}
