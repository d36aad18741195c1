// What can be done with a range of frames of some objects. It is done in the job's frame-by-frame
// session, so that it can be undone there, and is published once it is accepted.

import { call } from "./api.js";
import { note } from "./notes.js";

export class Ranges {
  constructor(root, path, timeline, { layers, edits }) {
    this.path = path;
    this.timeline = timeline;
    this.layers = layers;
    this.edits = edits;
    this.panel = root.dataset.panel;
    this.form = root.querySelector("#range");
    this.hint = root.querySelector("#range-hint");
    this.legend = root.querySelector(".legend");
    this.chosen = null;
    this.hint.hidden = !edits;
    timeline.addEventListener("range", ({ detail }) => this.#show(detail));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.#typed());
    this.form.addEventListener("click", (event) => {
      const { range } = event.target.closest("[data-range]")?.dataset ?? {};
      if (range === "none") this.clear();
      else if (range) this.#act(range);
    });
  }

  clear() { if (this.chosen) this.timeline.choose(null); }

  #show(chosen) {
    this.chosen = chosen;
    this.form.hidden = !chosen || !this.edits;
    this.hint.hidden = Boolean(chosen) || !this.edits;
    this.legend.hidden = !this.form.hidden; // one line for both, so that nothing jumps
    if (!chosen) return;
    const names = chosen.lanes.map(({ name }) => name);
    this.form.querySelector("#range-objects").textContent = names.length > 3 ? `${names.length} objects` : names.join(", ");
    this.form.elements.from.value = chosen.from;
    this.form.elements.to.value = chosen.to;
    const isKnown = chosen.lanes.every(({ object }) => object > 0);
    for (const button of this.form.querySelectorAll("[data-range]:not([data-range='none'])")) {
      button.disabled = !isKnown;
      button.title = isKnown ? button.title : "Masks that are not followed as an object can only be changed frame by frame";
    }
  }

  // Both ends can be typed too.
  #typed() {
    const { first, last, step } = this.timeline.data;
    const ends = ["from", "to"].map((name) => Math.min(last, Math.max(first, Number(this.form.elements[name].value) || first)));
    const [from, to] = ends.map((frame) => Math.round((frame - first) / step)).sort((a, b) => a - b);
    this.timeline.choose({ ...this.timeline.range, from, to });
  }

  async #act(action) {
    const { lanes, from, to } = this.chosen;
    const { first, last, step } = this.timeline.data;
    const objects = lanes.map(({ object }) => object);
    const buttons = [...this.form.querySelectorAll("button")];
    for (const button of buttons) button.disabled = true;
    try {
      await call("GET", `${this.path}/session`); // it begins here where there is none
      await call("POST", `${this.path}/session/range`, { action, objects, from, to });
      if (action === "forget") {
        // Forward from the frame before, or backward from the one behind.
        const way = from > first ? { from: from - step, to } : { from: Math.min(last, to + step), to: from };
        await call("POST", `${this.path}/session/step`, { ...way, wait: false });
      }
      this.#tell(action);
      this.timeline.choose(null);
    } catch (error) {
      note(error.message, { bad: true });
    }
    for (const button of buttons) button.disabled = false;
    await this.layers.read().catch(() => {});
  }

  // The next step, in words: nothing is published yet.
  #tell(action) {
    const done = { forget: "Is being computed anew", absent: "Marked absent", delete: "Deleted" }[action];
    const link = Object.assign(document.createElement("a"), { href: this.panel, textContent: "Frame by frame" });
    this.hint.replaceChildren(`${done} in the frame-by-frame session, nothing is published yet: look at it, then Accept in `, link, ".");
  }
}
