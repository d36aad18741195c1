// Brush and eraser: each stroke is saved as soon as it ends.

import { capsule } from "./tools_raster.js";

export class Brush {
  // `value`: what the first button sets, 1 or 0; the other button does the opposite.
  constructor(tools, value) {
    this.tools = tools;
    this.value = value;
    this.active = false;
    this.path = [];
    this.paints = value;
  }

  async down(at, positive) {
    this.active = true;
    this.paints = positive ? this.value : 1 - this.value;
    const path = this.path = [at]; // and what comes while the object is asked for
    const draft = await this.tools.begin();
    if (this.path !== path) { if (!this.active) this.tools.discard(); return; } // thrown away meanwhile
    if (!draft) { this.active = false; this.path = []; return; }
    this.draft = draft;
    this.#lay(at, at);
    for (let i = 1; i < path.length; i += 1) this.#lay(path[i - 1], path[i]);
    if (!this.active) this.#end();
  }

  move(at) {
    if (!this.active) return;
    const before = this.path.at(-1);
    this.path.push(at);
    if (this.draft) this.#lay(before, at);
  }

  up(at) {
    if (!this.active) return;
    this.move(at);
    this.active = false;
    if (this.draft) this.#end();
  }

  clear() { this.active = false; this.path = []; this.draft = null; }

  paint(context, scale, at) {
    if (!at) return;
    context.beginPath();
    context.arc(at[0], at[1], this.tools.radius, 0, 2 * Math.PI);
    context.strokeStyle = "rgb(0 0 0 / 60%)";
    context.lineWidth = 3 / scale;
    context.stroke();
    context.strokeStyle = "#fff";
    context.lineWidth = 1.25 / scale;
    context.setLineDash(this.value ? [] : [4 / scale, 3 / scale]);
    context.stroke();
  }

  #lay(from, to) {
    const { draft } = this;
    draft.touched(capsule(draft.bits, draft.width, draft.height, from, to, this.tools.radius, this.paints));
    this.tools.stage.redraw();
  }

  #end() {
    this.draft = null;
    this.path = [];
    this.tools.save();
  }
}
