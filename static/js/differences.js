// What differs between two layers: read when a person opens it, and again when the choice changes.

import { call } from "./api.js";
import { framesOf } from "./masks.js";

const WORDS = { added: "only in the second", removed: "only in the first", changed: "changed" };
const LONGEST = 60; // characters of frames in one line

// Events: "look" (detail: {a, b, frame}: both are to be compared there).
export class Differences extends EventTarget {
  constructor(root, path, layers) {
    super();
    this.root = root;
    this.path = path;
    this.layers = layers;
    this.form = root.querySelector("form");
    this.words = root.querySelector("p");
    this.list = root.querySelector("ul");
    this.asked = 0;
    this.signature = "";
    root.addEventListener("toggle", () => { if (root.open) this.#fill(); });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.#read());
    layers.addEventListener("listed", () => { if (root.open) this.#fill(); });
  }

  #fill() {
    const { a, b } = this.form.elements;
    const { list } = this.layers;
    const signature = JSON.stringify(list);
    if (signature === this.signature) return;
    this.signature = signature;
    const chosen = [a.value, b.value];
    for (const select of [a, b]) select.replaceChildren(...list.map(({ name, title }) => new Option(title, name)));
    const [first, second] = list.some(({ name }) => name === chosen[0]) ? chosen : [this.layers.b, this.layers.a];
    a.value = first;
    b.value = second;
    this.#read();
  }

  async #read() {
    const mine = ++this.asked;
    const [a, b] = ["a", "b"].map((name) => this.form.elements[name].value);
    this.list.replaceChildren();
    if (!a || !b || a === b) {
      this.words.textContent = this.layers.list.length < 2 ? "There is nothing to compare yet." : "Choose two that are not the same.";
      return;
    }
    this.words.textContent = "Comparing…";
    try {
      const query = new URLSearchParams({ a, b });
      const found = await call("GET", `${this.path}/differences?${query}`);
      if (mine !== this.asked) return;
      const count = framesOf(found.frames).length;
      this.words.textContent = count ? `${count === 1 ? "1 frame differs" : `${count} frames differ`}, ${found.same} are the same.` : "They are the same on every frame.";
      this.list.replaceChildren(...found.objects.map((each) => this.#row(each, a, b)));
    } catch (error) {
      if (mine === this.asked) this.words.textContent = error.message;
    }
  }

  #row({ object, label, kind, frames, iou }, a, b) {
    const make = (name, text) => Object.assign(document.createElement(name), { textContent: text });
    const row = document.createElement("li");
    const few = frames.length > LONGEST ? `${frames.slice(0, frames.lastIndexOf(",", LONGEST))}, …` : frames;
    const words = make("span", `${WORDS[kind] ?? kind} on ${few.replaceAll(",", ", ").replaceAll("  ", " ")}`);
    words.className = "muted";
    words.title = frames;
    if (kind === "changed" && iou !== null && iou !== undefined) words.append(` (IoU ${iou > 0.994 ? "over 0.99" : iou.toFixed(2)})`);
    const look = make("button", "Look");
    look.type = "button";
    look.setAttribute("aria-label", `Look at ${label} ${object || ""} on the first of these frames, one over the other`);
    look.addEventListener("click", () => this.dispatchEvent(new CustomEvent("look", { detail: { a, b, frame: parseInt(frames, 10), key: object || label } })));
    row.append(look, make("b", object ? `${label} ${object}` : label), words);
    return row;
  }
}
