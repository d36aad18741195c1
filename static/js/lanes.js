// The heads of the lanes: each object's name, whether it is shown, and its colour in this browser.

import { coloursOf } from "./colours.js";
import { laneOf } from "./overlay.js";

const EYE = "M2.5 10c1.8-3.3 4.3-5 7.5-5s5.7 1.7 7.5 5c-1.8 3.3-4.3 5-7.5 5s-5.7-1.7-7.5-5z";
const SVG = "http://www.w3.org/2000/svg";

// Events: "look" (colours, hidden ones or the selection changed), "select" (a person chose one).
export class Lanes extends EventTarget {
  constructor(list, jobId) {
    super();
    this.list = list;
    this.stored = `mask-relay.colours.${jobId}`;
    this.own = recall(this.stored); // colours that a person chose
    this.hidden = new Set();
    this.selected = null;
    this.lanes = [];
    this.colours = new Map();
  }

  // `lanes`: those of a timeline; each is given a name.
  set(lanes) {
    this.lanes = lanes;
    for (const lane of lanes) {
      lane.key = laneOf(lane);
      lane.name ||= nameOf(lane);
    }
    this.#colour();
    const signature = JSON.stringify(lanes.map(({ key, name }) => [key, name]));
    if (signature !== this.signature) {
      this.signature = signature;
      this.list.replaceChildren(...lanes.map((lane) => this.#row(lane)));
    }
    this.#mark();
  }

  select(key) {
    this.selected = this.selected === key ? null : key;
    this.#mark();
  }

  // Show all, or none where all are shown.
  all() {
    if (this.hidden.size) this.hidden.clear();
    else for (const { key } of this.lanes) this.hidden.add(key);
    this.#mark();
  }

  // What people call the object of a mask, lane or worst frame.
  nameOf(item) { return this.lanes.find((lane) => lane.key === laneOf(item))?.name ?? nameOf(item); }

  #colour() {
    this.colours = coloursOf(this.lanes);
    for (const [key, colour] of this.own) if (this.colours.has(key)) this.colours.set(key, colour);
  }

  #row(lane) {
    const row = document.createElement("li");
    row.dataset.lane = lane.key;
    const eye = document.createElement("button");
    eye.type = "button";
    eye.className = "tool eye";
    eye.setAttribute("aria-label", `Show ${lane.name}`);
    eye.append(drawing(EYE));
    eye.addEventListener("click", () => {
      if (!this.hidden.delete(lane.key)) this.hidden.add(lane.key);
      this.#mark();
    });
    const colour = document.createElement("input");
    colour.type = "color";
    colour.setAttribute("aria-label", `Colour of ${lane.name}`);
    colour.title = "Colour, in this browser only";
    colour.addEventListener("input", () => {
      this.own.set(lane.key, colour.value);
      try { localStorage.setItem(this.stored, JSON.stringify([...this.own])); } catch { /* storage may be switched off */ }
      this.#colour();
      this.#mark();
    });
    const name = document.createElement("button");
    name.type = "button";
    name.className = "lane-name";
    name.textContent = lane.name;
    name.title = lane.name;
    name.addEventListener("click", () => { this.select(lane.key); this.dispatchEvent(new Event("select")); });
    row.append(eye, colour, name);
    return row;
  }

  #mark() {
    [...this.list.children].forEach((row, index) => {
      const lane = this.lanes[index];
      lane.isHidden = this.hidden.has(lane.key);
      lane.isSelected = this.selected === lane.key;
      row.classList.toggle("off", lane.isHidden);
      row.classList.toggle("selected", lane.isSelected);
      row.children[0].setAttribute("aria-pressed", String(!lane.isHidden));
      row.children[1].value = this.colours.get(lane.key);
      row.children[2].setAttribute("aria-pressed", String(lane.isSelected));
    });
    this.dispatchEvent(new Event("look"));
  }
}

function nameOf({ object, label }) { return object ? `${label} ${object}` : label; }

function drawing(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "drawing");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  const pupil = document.createElementNS(SVG, "circle");
  for (const [name, value] of [["cx", 10], ["cy", 10], ["r", 2.3]]) pupil.setAttribute(name, value);
  svg.append(line, pupil);
  return svg;
}

function recall(stored) {
  try { return new Map(JSON.parse(localStorage.getItem(stored)) ?? []); } catch { return new Map(); }
}
