// Points and box: a worker finds the object that they mean, and proposes its mask.

const NEAR = 10; // CSS pixels: a click so near to a point takes that point away
const LEAST = 3; // pixels of a box's side

class Proposal {
  constructor(tools) {
    this.tools = tools;
    this.clear();
  }

  // Whether a proposal waits for Keep or Discard.
  get asks() { return this.points.length > 0 || this.box !== null; }

  taken() { this.tools.dispatchEvent(new Event("prepare")); }

  clear() {
    this.points = []; // [x, y, 1 or 0], in the frame
    this.box = null; // [x0, y0, x1, y1]
    this.active = false;
    this.wanted = 0;
    this.asking = false;
    this.score = null;
  }

  undo() {
    if (!this.asks) return false;
    if (this.points.length) this.points.pop(); else this.box = null;
    if (this.asks) this.ask(); else this.tools.discard();
    return true;
  }

  // Ask for the mask that points and box mean; of many wishes only the last is asked for.
  ask() {
    this.wanted += 1;
    if (!this.asking) this.answered = this.#ask();
    this.tools.changed();
  }

  async #ask() {
    this.asking = true;
    const { tools } = this;
    try {
      for (let asked = 0; asked !== this.wanted && this.asks;) {
        asked = this.wanted;
        const draft = await tools.begin();
        if (!draft) { this.clear(); break; }
        const answer = await tools.session.send("segment", {
          frame: draft.frame, object: draft.object, refine: this.refines && this.box === null,
          points: this.points, box: this.box,
        });
        if (tools.draft !== draft || !this.asks) break; // thrown away meanwhile
        draft.put(answer.mask);
        this.score = answer.score;
        tools.changed();
      }
    } catch (error) {
      tools.discard();
      tools.complain(error.message);
    } finally {
      this.asking = false;
      tools.changed();
    }
  }

  // Whether the mask that is there is mended, instead of being replaced.
  get refines() { return !this.tools.anew; }

  inside([x, y]) {
    const { width, height } = this.tools.view.sequence;
    return [Math.min(width - 0.5, Math.max(0.5, x)), Math.min(height - 0.5, Math.max(0.5, y))];
  }

  paint(context, scale) {
    for (const [x, y, inside] of this.points) {
      context.beginPath();
      context.arc(x, y, 5.5 / scale, 0, 2 * Math.PI);
      context.fillStyle = inside ? "#1fa971" : "#d64533";
      context.fill();
      context.strokeStyle = "#fff";
      context.lineWidth = 1.75 / scale;
      context.stroke();
      context.beginPath();
      context.moveTo(x - 2.75 / scale, y);
      context.lineTo(x + 2.75 / scale, y);
      if (inside) { context.moveTo(x, y - 2.75 / scale); context.lineTo(x, y + 2.75 / scale); }
      context.stroke();
    }
    if (this.box) {
      const [x0, y0, x1, y1] = this.box;
      context.setLineDash([6 / scale, 4 / scale]);
      context.strokeStyle = "#fff";
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }
}

export class Points extends Proposal {
  down(at, positive) {
    const [x, y] = this.inside(at);
    const near = NEAR / this.tools.stage.scale;
    const there = this.points.findIndex(([px, py]) => Math.hypot(px - x, py - y) <= near);
    if (there >= 0) this.points.splice(there, 1);
    else this.points.push([x, y, positive ? 1 : 0]);
    if (this.asks) this.ask(); else this.tools.discard();
  }

  move() {}

  up() {}
}

export class Box extends Proposal {
  down(at) {
    this.active = true;
    this.start = this.inside(at);
    this.box = null;
  }

  move(at) {
    if (!this.active) return;
    const [x, y] = this.inside(at), [x0, y0] = this.start;
    this.box = [Math.min(x, x0), Math.min(y, y0), Math.max(x, x0), Math.max(y, y0)];
  }

  up(at) {
    if (!this.active) return;
    this.move(at);
    this.active = false;
    const [x0, y0, x1, y1] = this.box ?? [0, 0, 0, 0];
    if (x1 - x0 < LEAST || y1 - y0 < LEAST) { this.box = null; this.tools.discard(); } else this.ask();
  }

  get asks() { return super.asks && !this.active; }
}
