// The job page: puts player, timeline, worst frames and comparisons together.

import { call } from "./api.js";
import { Differences } from "./differences.js";
import { bindKeys } from "./job_keys.js";
import { Lanes } from "./lanes.js";
import { Layers } from "./layers.js";
import { Looks } from "./looks.js";
import { Player } from "./player.js";
import { Ranges } from "./ranges.js";
import { Stage } from "./stage.js";
import { bytesOf, Timeline } from "./timeline.js";
import { Worst } from "./worst.js";

const SETTLE = 400; // ms between two readings of a timeline that keeps changing
const PRESENCE = ["", "Computed", "Key frame", "Carried over"];

class JobPage {
  constructor(root) {
    this.root = root;
    this.job = root.dataset.job;
    this.path = `/api/jobs/${encodeURIComponent(this.job)}`;
    this.stage = new Stage(root.querySelector("#stage"), { dragPans: true });
    this.lanes = new Lanes(root.querySelector("#lanes"), this.job);
    this.timeline = new Timeline(root.querySelector("#timeline"));
    this.layers = new Layers(root, this.path);
    this.looks = new Looks(root, this.stage, this.lanes);
    this.worst = new Worst(root.querySelector(".worst"), root.dataset.panel);
    this.words = root.querySelector("#stage-words");
    this.kind = root.querySelector("#kind");
    this.field = root.querySelector("#frame");
    this.data = null; // the timeline
    this.troubled = false;
    this.reading = 0; // of timelines: the newest one counts
  }

  async open() {
    this.say("Reading the frames…");
    try {
      const [frames] = await Promise.all([call("GET", `${this.path}/frames`), this.layers.read()]);
      if (!frames.width) throw new Error("The size of the frames is not known: neither the export nor an image says.");
      this.#begin(frames);
    } catch (error) {
      this.say(error.message);
      document.addEventListener("refreshed", () => this.open(), { once: true });
    }
  }

  #begin(frames) {
    const player = (this.player = new Player(this.job, frames, this.stage));
    const { first, last } = frames;
    this.root.querySelector("#last").textContent = `of ${first} to ${last}`;
    for (const control of this.root.querySelectorAll(".player-transport :disabled")) control.disabled = false;
    player.wanted = frameOf(location.hash, frames) ?? first;
    player.addEventListener("wanted", () => this.#at());
    player.addEventListener("shown", () => this.#shown());
    player.addEventListener("trouble", ({ detail }) => { this.troubled = detail !== "" && player.entry === null; this.say(detail); });
    player.addEventListener("playing", () => {
      const button = this.root.querySelector("[data-do='play']");
      const title = player.playing ? "Pause" : "Play";
      button.setAttribute("aria-label", title);
      button.setAttribute("aria-pressed", String(player.playing));
      button.title = `${title} (Space)`;
    });
    this.timeline.addEventListener("goto", ({ detail }) => { player.pause(); player.goto(detail); });
    this.timeline.addEventListener("select", ({ detail }) => this.#select(detail.key, true));
    this.lanes.addEventListener("look", () => this.timeline.redraw());
    this.worst.addEventListener("goto", ({ detail }) => this.goToWorst(detail));
    this.layers.addEventListener("chosen", () => this.#choose());
    this.layers.addEventListener("changed", ({ detail }) => this.#changed(detail.name, detail.frames));
    this.ranges = new Ranges(this.root, this.path, this.timeline, { layers: this.layers, edits: "edits" in this.root.dataset });
    this.differences = new Differences(document.getElementById("differences"), this.path, this.layers);
    this.differences.addEventListener("look", ({ detail }) => this.#compare(detail));
    addEventListener("hashchange", () => { const frame = frameOf(location.hash, frames); if (frame !== null) player.goto(frame); });
    document.addEventListener("refreshed", () => this.#refreshed());
    this.keys = bindKeys(this);
    this.#bindControls();
    this.#at();
    this.#choose();
  }

  #compare({ a, b, frame, key }) {
    this.layers.compare(a, b);
    this.player.pause();
    this.player.goto(frame);
    this.#select(key, true);
    this.root.scrollIntoView({ block: "nearest" });
  }

  say(sentence) {
    this.words.textContent = sentence;
    this.words.hidden = sentence === "";
  }

  // Other layers are to be shown.
  #choose() {
    const { a, b, mode } = this.layers;
    this.looks.compare(mode, this.layers.titleOf(a), this.layers.titleOf(b));
    if (!a) { this.say("There are no masks to show yet."); return; }
    this.player.setLayers(a, mode === "off" ? null : b);
    this.#readTimeline(a);
  }

  async #readTimeline(name) {
    const mine = ++this.reading;
    try {
      const data = await call("GET", `${this.path}/layers/${encodeURIComponent(name)}/timeline`);
      if (mine !== this.reading) return;
      data.lanes = data.objects.map((lane) => ({ ...lane, presence: bytesOf(lane.presence), scores: bytesOf(lane.scores) }));
      this.data = data;
      this.lanes.set(data.lanes);
      this.timeline.set(data);
      this.worst.set(data, this.lanes);
      this.#describe(); // names are known now
      this.#at();
    } catch (error) {
      if (mine !== this.reading) return;
      this.troubled = true;
      this.say(error.message);
    }
  }

  // Masks of a layer are not what they were.
  #changed(name, frames) {
    const { a, b, mode } = this.layers;
    if (name !== a && (name !== b || mode === "off")) return;
    this.player.forget(name, frames);
    if (name !== a) return;
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.#readTimeline(a), SETTLE);
  }

  async #refreshed() {
    await this.layers.read().catch(() => {}); // the page itself says when the server is away
    if (!this.troubled) return;
    this.troubled = false; // perhaps it is over
    for (const name of [this.layers.a, this.layers.b].filter(Boolean)) this.#changed(name, [this.player.wanted]);
  }

  // Another frame is wanted: all but the picture is right at once.
  #at() {
    const { wanted } = this.player;
    if (document.activeElement !== this.field) this.field.value = wanted;
    this.timeline.at(wanted);
    this.worst.at(wanted);
    this.kind.replaceChildren(...this.#kindOf(wanted));
  }

  #shown() {
    this.#describe();
    if (!this.player.playing) this.#remember(this.player.shown);
  }

  #describe() {
    const { shown, entry } = this.player;
    const names = entry?.masks.map((mask) => this.lanes.nameOf(mask));
    this.stage.describe(`Frame ${shown}: ${names ? names.join(", ") || "no masks" : "masks are not here yet"}`);
  }

  #remember(frame) {
    clearTimeout(this.remembering); // browsers refuse an address that changes all the time
    this.remembering = setTimeout(() => history.replaceState(history.state, "", `#${frame}`), 300);
  }

  #kindOf(frame) {
    if (!this.data) return [];
    const place = (frame - this.data.first) / this.data.step;
    const present = this.data.lanes.filter((lane) => lane.presence[place]);
    const kinds = [...new Set(present.map((lane) => PRESENCE[lane.presence[place]]))];
    const mark = document.createElement("b");
    mark.textContent = kinds.includes("Key frame") ? "Key frame" : kinds[0] ?? "No masks";
    const scored = present.filter((lane) => lane.presence[place] !== 2 && lane.scores[place] !== 255);
    if (!scored.length) return [mark];
    const most = scored.reduce((one, other) => (other.scores[place] > one.scores[place] ? other : one));
    return [mark, ` · most in doubt: ${most.name}, ${(most.scores[place] / 254).toFixed(2)}`];
  }

  #select(key, stays = false) {
    if (!stays || this.lanes.selected !== key) this.lanes.select(key);
  }

  goToWorst(item) {
    this.player.pause();
    this.player.goto(item.frame);
    this.#select(item.object || item.label, true);
  }

  nextWorst() {
    const item = this.worst.after(this.player.wanted);
    if (item) this.goToWorst(item);
  }

  // To the key frame before (-1) or after (1) this one.
  key(direction) {
    const { wanted } = this.player;
    const keys = this.data?.key_frames ?? [];
    const found = direction > 0 ? keys.find((key) => key > wanted) : keys.findLast((key) => key < wanted);
    if (found !== undefined) this.player.goto(found);
  }

  #bindControls() {
    const { player, stage, timeline } = this;
    const actions = {
      keyBefore: () => this.key(-1), keyAfter: () => this.key(1),
      back: () => player.step(-1), forward: () => player.step(1), play: () => player.toggle(),
      next: () => this.nextWorst(), help: () => this.keys.open(), all: () => this.lanes.all(),
      masks: () => this.looks.toggle("masks"), outlines: () => this.looks.toggle("outlines"),
      smaller: () => stage.zoomAt(1 / 1.5), larger: () => stage.zoomAt(1.5), fit: () => stage.fit(),
      timeOut: () => timeline.zoom(1 / 2), timeIn: () => timeline.zoom(2),
    };
    // What was pressed by mouse or finger gives the keys back to the player.
    const release = () => { if (this.root.contains(document.activeElement)) document.activeElement.blur(); };
    this.root.addEventListener("pointerup", () => setTimeout(() => {
      if (document.activeElement?.matches("button, [type='radio'], [type='range']")) release();
    }));
    for (const select of this.root.querySelectorAll("select")) select.addEventListener("change", release);
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (!button || button.disabled) return;
      if (["keyBefore", "keyAfter", "back", "forward"].includes(button.dataset.do)) player.pause();
      actions[button.dataset.do]();
    });
    this.root.querySelector("#frame-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.field.value.trim();
      const { first, last } = player.span;
      const frame = Number(text);
      const isFrame = /^\d+$/.test(text) && frame >= first && frame <= last;
      this.field.setAttribute("aria-invalid", String(!isFrame));
      if (!isFrame) { this.say(`There is no frame ${text || "without a number"}: type one from ${first} to ${last}.`); return; }
      this.say("");
      this.field.blur();
      player.pause();
      player.goto(frame);
    });
    this.field.addEventListener("focus", () => this.field.select());
    this.field.addEventListener("blur", () => { this.field.value = player.wanted; this.field.removeAttribute("aria-invalid"); });
  }
}

// "#57" -> 57 where there is such a frame, else null.
function frameOf(hash, { first, last }) {
  const found = /^#(\d+)$/.exec(hash);
  const frame = found ? Number(found[1]) : -1;
  return frame >= first && frame <= last ? frame : null;
}

const root = document.getElementById("player");
const revision = () => document.getElementById("summary")?.dataset.plays ?? "";
const opened = revision();
if (root) new JobPage(root).open();
// Another export may have other frames, and the one before may have had none.
document.addEventListener("refreshed", () => { if (revision() !== opened) location.reload(); });
