// The tools that draw on the stage, of which one is in hand, and the draft that they draw into.

import { Draft } from "./tools_draft.js";
import { Brush } from "./tools_brush.js";
import { Lasso } from "./tools_lasso.js";
import { Box, Points } from "./tools_points.js";

const SIZES = [1, 2, 3, 5, 8, 12, 18, 26, 38, 55, 80, 120]; // radius of the brush, pixels of the frame

const TAP = 4; // CSS pixels that a finger moves without meaning to

// Events: "change" after another tool, size or sign, or when a draft came, changed or went.
export class Tools extends EventTarget {
  // `complain(text)` tells of a failure; `choose()`: resolves to the object to draw, 0 for none;
  // `halt()`: lets frames stop running by.
  constructor({ stage, view, session, say, complain, choose, halt }) {
    super();
    Object.assign(this, { stage, view, session, say, complain, choose, halt });
    this.kinds = { points: new Points(this), box: new Box(this), brush: new Brush(this, 1), eraser: new Brush(this, 0), lasso: new Lasso(this) };
    this.name = "look";
    this.positive = true;
    this.anew = false; // whether points make a mask anew, instead of mending the one that is there
    this.size = 5; // index of SIZES
    this.draft = null;
    this.saves = Promise.resolve(); // the edits that are on their way, one after the other
    this.pending = 0;
    this.unsaved = null; // an edit that the server did not take
    this.at = null; // where the pointer is, in the frame
    this.finger = null; // a finger that has touched, and may yet be the first of two
    stage.onPaint((context, scale) => this.#paint(context, scale));
    this.#listen();
  }

  get tool() { return this.kinds[this.name] ?? null; }

  get radius() { return SIZES[this.size]; }

  // Take a tool in hand: a name of `kinds`, or "look" for none.
  take(name) {
    if (name === this.name) return;
    this.discard();
    this.name = name;
    this.stage.canvas.dataset.tool = name;
    this.tool?.taken?.();
    this.changed();
  }

  grow(by) {
    this.size = Math.min(SIZES.length - 1, Math.max(0, this.size + by));
    this.changed();
  }

  turn(positive = !this.positive) {
    this.positive = positive;
    this.changed();
  }

  mend(anew) {
    this.anew = anew;
    if (this.asks && !this.unsaved) this.tool.ask();
    this.changed();
  }

  // The draft of the selected object on this frame, begun where there is none.
  async begin() {
    const object = await this.choose();
    if (!object) return null;
    const { view } = this;
    if (this.draft?.frame === view.frame && this.draft.object === object) return this.draft;
    this.draft = new Draft({
      frame: view.frame, object, mask: view.mask(object), width: view.sequence.width,
      height: view.sequence.height, colour: view.colours.get(object),
      line: Math.max(1, Math.round(1.5 / this.stage.scale)), opacity: view.settings.opacity,
    });
    this.view.veil([object]);
    this.changed();
    return this.draft;
  }

  // Whether there is something that a person must decide on.
  get asks() { return this.unsaved !== null || (this.tool?.asks ?? false); }

  // Save what the tool proposes, or what the server did not take before.
  keep() {
    if (this.unsaved) {
      const again = this.unsaved;
      this.unsaved = null;
      return this.#send(again);
    }
    if (!this.draft || !this.tool?.asks) return undefined;
    this.tool.clear();
    return this.save();
  }

  // Send the draft as it is; it stays on the stage until the saved mask is there.
  save() {
    const { draft } = this;
    const mask = draft.mask();
    const edit = { frame: draft.frame, masks: [mask ? { object: draft.object, ...mask } : { object: draft.object, mask: null }], key: true };
    return this.#send(edit);
  }

  // Throw the draft away; -> whether there was one.
  discard() {
    const had = this.asks || this.draft !== null;
    this.unsaved = null;
    this.tool?.clear();
    if (!this.pending) this.#drop();
    return had;
  }

  // Take back the last click of a proposal; -> whether there was one.
  undo() { return this.tool?.undo?.() ?? false; }

  // Resolves when all that was drawn is saved.
  async settle() {
    await this.tool?.answered;
    if (this.tool?.asks && this.draft) await this.keep(); // it was seen, and can be undone
    await this.saves;
    if (this.unsaved) throw new Error("What you drew is not saved yet: press Enter to try again, or Escape to throw it away.");
    this.discard();
  }

  changed() {
    this.stage.redraw();
    this.dispatchEvent(new Event("change"));
  }

  #send(edit) {
    this.pending += 1;
    this.saves = this.saves.then(async () => {
      try {
        if (this.unsaved) { this.unsaved = merged(this.unsaved, edit); return; }
        await this.session.send("edit", edit);
        const { masks, frame } = this.view;
        if (edit.frame === frame) masks.forget([frame], Infinity, frame);
        if (edit.frame === frame && this.pending === 1) await this.view.refresh();
      } catch (error) {
        this.unsaved = edit;
        this.complain(`Not saved: ${error.message}`);
      } finally {
        this.pending -= 1;
        if (!this.pending && !this.unsaved && !this.tool?.active) this.#drop();
        this.changed();
      }
    });
    this.changed();
    return this.saves;
  }

  #drop() {
    if (!this.draft) return;
    this.draft = null;
    this.view.veil([]);
    this.changed();
  }

  #paint(context, scale) {
    const { draft, view, tool } = this;
    if (draft && draft.frame === view.frame) draft.draw(context);
    context.lineWidth = 1.5 / scale;
    tool?.paint(context, scale, this.at);
  }

  #listen() {
    const { canvas } = this.stage;
    const where = (event) => this.stage.toFrame(event.clientX, event.clientY);
    const usable = (event) => !this.stage.isMoving(event);
    const begin = (event) => {
      this.finger = null;
      this.halt();
      const negative = event.button === 2 || event.altKey;
      this.tool.down(where(event), negative ? !this.positive : this.positive);
    };
    // One finger draws; with a second one both move the picture, and nothing was meant to be drawn.
    const release = () => {
      this.finger = null;
      if (this.tool?.active) this.discard();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.tool) return;
      if (!usable(event)) { if (event.pointerType === "touch") release(); return; }
      if (event.button !== 0 && event.button !== 2) return;
      canvas.setPointerCapture(event.pointerId);
      if (event.pointerType === "touch") this.finger = event; else begin(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!usable(event)) { this.at = null; return; }
      this.at = where(event);
      const { finger } = this;
      if (finger && Math.hypot(event.clientX - finger.clientX, event.clientY - finger.clientY) > TAP) begin(finger);
      else if (finger) return;
      if (!this.tool) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.tool.move(where(each));
      this.stage.redraw();
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!this.tool) return;
      if (this.finger?.pointerId === event.pointerId) begin(this.finger);
      this.tool.up(where(event));
    });
    canvas.addEventListener("pointercancel", (event) => {
      if (event.pointerType === "touch") release(); else this.tool?.up(where(event));
    });
    canvas.addEventListener("pointerleave", () => { this.at = null; this.stage.redraw(); });
    canvas.addEventListener("contextmenu", (event) => { if (this.tool) event.preventDefault(); });
    addEventListener("beforeunload", (event) => { if (this.unsaved || this.pending) event.preventDefault(); });
  }
}

// One edit of two of the same frame: of each object the later mask.
function merged(earlier, later) {
  const renewed = new Set(later.masks.map(({ object }) => object));
  return { ...later, masks: [...earlier.masks.filter(({ object }) => !renewed.has(object)), ...later.masks] };
}
