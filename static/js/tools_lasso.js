// Lasso: a line around what belongs to the object, or, negative, around what does not.

import { polygon } from "./tools_raster.js";

const LEAST = 3; // points of a line that encloses anything

export class Lasso {
  constructor(tools) {
    this.tools = tools;
    this.active = false;
    this.path = [];
    this.positive = true;
  }

  down(at, positive) {
    this.active = true;
    this.positive = positive;
    this.path = [at];
  }

  move(at) { if (this.active) this.path.push(at); }

  async up(at) {
    if (!this.active) return;
    const path = [...this.path, at];
    this.clear();
    if (path.length < LEAST + 1) return;
    const draft = await this.tools.begin();
    if (!draft) return;
    draft.touched(polygon(draft.bits, draft.width, draft.height, path, this.positive ? 1 : 0));
    this.tools.save();
  }

  clear() { this.active = false; this.path = []; }

  paint(context, scale) {
    if (this.path.length < 2) return;
    context.beginPath();
    this.path.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.fillStyle = this.positive ? "rgb(60 200 140 / 25%)" : "rgb(230 80 60 / 30%)";
    context.fill();
    context.strokeStyle = "#fff";
    context.setLineDash([5 / scale, 3 / scale]);
    context.stroke();
  }
}
