// Which masks are shown, and with which they are compared.

import { call } from "./api.js";
import { note } from "./notes.js";

const WAIT = 25; // seconds that the server may wait for a change of frame-by-frame work
const PAUSE = 3000; // ms after a failure
const NEVER = Number.MAX_SAFE_INTEGER; // a version that does not come: only the present one is asked for

// Events: "chosen" (a, b or mode is another), "changed" ({name, frames}: masks of a layer are others),
// "listed" (the list was read).
export class Layers extends EventTarget {
  constructor(root, path) {
    super();
    this.path = path;
    [this.first, this.second] = ["#layer-a", "#layer-b"].map((each) => root.querySelector(each));
    this.switch = root.querySelector("#compare");
    this.other = root.querySelector("#layer-other");
    this.list = [];
    this.a = this.b = "";
    this.mode = "off";
    this.followed = ""; // the server's suggestion, while nothing else was chosen
    this.version = 0; // of frame-by-frame work, where there is any
    this.ended = undefined; // the computing that ended last
    this.hearing = false;
    this.first.addEventListener("change", () => { this.followed = null; this.a = this.first.value; this.#suggest(); this.#chosen(); });
    this.second.addEventListener("change", () => { this.b = this.second.value; this.#chosen(); });
    this.switch.addEventListener("change", (event) => { this.mode = event.target.value; this.#chosen(); });
  }

  titleOf(name) { return this.list.find((layer) => layer.name === name)?.title ?? name; }

  // Read the list again. What is new is followed, unless a person chose something else.
  async read() {
    const answer = await call("GET", `${this.path}/layers`);
    const before = new Map(this.list.map((layer) => [layer.name, JSON.stringify(layer)]));
    this.list = answer.layers;
    const names = new Set(this.list.map(({ name }) => name));
    // Known before its masks are asked for, so that no change in between is missed.
    if (names.has("session") && !this.version) await this.#changes(NEVER, 0);
    const { a, b } = this;
    if (this.followed !== null || !names.has(a)) this.a = this.followed = answer.default;
    this.#suggest(names.has(b) ? b : "");
    if (this.#fill() || a !== this.a || b !== this.b) this.#chosen();
    for (const layer of this.list) {
      const was = before.get(layer.name);
      if (was && was !== JSON.stringify(layer) && layer.kind !== "session") this.#tell(layer.name);
    }
    this.dispatchEvent(new Event("listed"));
    if (names.has("session")) this.#hear();
  }

  // Show two layers beside each other, or one over the other.
  compare(a, b, mode = "wipe") {
    Object.assign(this, { a, b, mode, followed: null });
    this.switch.querySelector(`[value="${mode}"]`).checked = true;
    this.#chosen();
  }

  #tell(name, frames) { this.dispatchEvent(new CustomEvent("changed", { detail: { name, frames } })); }

  #chosen() {
    this.#fill();
    this.dispatchEvent(new Event("chosen"));
  }

  // What to compare with: the other pass, the run before, else the newest export.
  #suggest(present = "") {
    const { list, a } = this;
    const twin = a.endsWith("-forward") ? a.replace("-forward", "-backward") : a.replace("-backward", "-forward");
    const others = list.filter(({ name }) => name !== a);
    const isOlder = ({ kind, created }) => kind === "run" && created < (list.find(({ name }) => name === a)?.created ?? 0);
    const found = others.find(({ name }) => name === twin) ?? others.find(isOlder)
      ?? others.find(({ kind }) => kind === "run") ?? others.find(({ kind }) => kind === "revision") ?? others[0];
    this.b = present && present !== a ? present : found?.name ?? "";
    if (!this.b && this.mode !== "off") {
      this.mode = "off";
      this.switch.querySelector("[value='off']").checked = true;
    }
  }

  // Bring both fields up to date; returns whether the list is another.
  #fill() {
    const { list, first, second } = this;
    const signature = JSON.stringify(list.map(({ name, title }) => [name, title]));
    const isNew = signature !== this.signature;
    if (isNew) {
      this.signature = signature;
      for (const select of [first, second]) select.replaceChildren(...list.map(({ name, title }) => new Option(title, name)));
    }
    first.value = this.a;
    second.value = this.b;
    first.disabled = list.length === 0;
    this.other.hidden = this.mode === "off";
    for (const choice of this.switch.querySelectorAll("input")) choice.disabled = list.length < 2;
    this.switch.title = list.length < 2 ? "There is nothing to compare with yet" : "";
    return isNew;
  }

  async #changes(since, wait) {
    const answer = await call("GET", `${this.path}/session/changes?since=${since}&wait=${wait}`);
    const { version, last } = answer;
    if (last?.error && this.version && last.id !== this.ended) note(last.error, { bad: true });
    this.version = version;
    this.ended = last?.id;
    return answer;
  }

  // Hear of each change of frame-by-frame work, by whomever, for as long as the page is open.
  async #hear() {
    if (this.hearing) return;
    this.hearing = true;
    while (this.list.some(({ name }) => name === "session")) {
      try {
        const wait = document.hidden ? 0 : WAIT;
        const before = this.version;
        const { version, frames } = await this.#changes(before, wait);
        if (version !== before) this.#tell("session", frames || []);
        if (wait) continue;
      } catch { /* the page itself says when the server is away */ }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    this.hearing = false;
  }
}
