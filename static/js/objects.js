// The objects of a session: a list to choose from, and a form that changes the chosen one.

import { doneText } from "./panel_words.js";

const SHORTCUTS = 9;

export class Objects {
  // `act(body)`: POST of session/objects, `range(body)`: of session/range; null where it failed.
  // `edits`: whether this person may change anything.
  constructor({ root, session, view, act, range, say, edits }) {
    Object.assign(this, { root, session, view, act, range, say, edits });
    this.list = root.querySelector("#object-list");
    this.form = root.querySelector("#object-form");
    this.dialog = document.getElementById("add-object");
    this.stored = `mask-relay.colours.${session.job}`;
    this.typed = null; // the frame and object that frames were typed for
    this.#recall();
    this.#listen();
  }

  // Choose an object by its number; `tell`: in words too.
  choose(number, { tell = true } = {}) {
    if (this.view.selected === number) return;
    this.view.selected = number;
    this.view.paint();
    this.render();
    const object = this.session.object(number);
    if (object && tell) this.say(`${object.name} is selected.`);
  }

  // Choose one by its place in the list, from 1.
  nth(place) {
    const object = this.session.objects[place - 1];
    if (object) this.choose(object.number);
  }

  // -> the number of the object to draw, asking for a new one where there is none; 0 where none came.
  async wanted() {
    if (this.session.object(this.view.selected)) return this.view.selected;
    if (this.session.objects.length) { this.choose(this.session.objects[0].number); return this.view.selected; }
    return this.add();
  }

  // Ask for name and label of a new object; -> its number, or 0.
  async add() {
    const { dialog, session } = this;
    const { name, label } = dialog.querySelector("form").elements;
    fill(label, session.labels);
    name.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "add") return 0;
    const before = new Set(session.objects.map(({ number }) => number));
    const answer = await this.act({ action: "add", name: name.value.trim() || label.value, label: label.value });
    if (!answer) return 0;
    await session.read();
    const number = answer.object ?? session.objects.find((each) => !before.has(each.number))?.number ?? 0;
    this.choose(number);
    return number;
  }

  render() {
    const { session, view } = this;
    if (!session.object(view.selected)) view.selected = session.objects[0]?.number ?? 0;
    view.paint();
    // Rows that stay the same stay the very same elements, under a finger that presses one.
    const gist = JSON.stringify([session.objects, session.labels, view.selected, [...view.hidden], [...view.colours]]);
    if (gist === this.gist) { this.mark(); return; }
    this.gist = gist;
    const rows = session.objects.map((object, index) => this.#row(object, index));
    if (!rows.length) {
      const empty = document.createElement("li");
      empty.className = "muted";
      empty.textContent = this.edits ? "No object yet: add one, then draw it." : "No object yet.";
      rows.push(empty);
    }
    const focused = this.list.contains(document.activeElement) ? document.activeElement.id : "";
    this.list.replaceChildren(...rows);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    this.mark();
    this.#fillForm();
  }

  // Say at each object whether the present frame shows it, and how much it is in doubt.
  mark() {
    for (const row of this.list.querySelectorAll("[data-object]")) {
      const mask = this.view.mask(Number(row.dataset.object));
      row.classList.toggle("away", !mask);
      const doubt = mask?.score != null && !this.view.entry.key ? mask.score.toFixed(2) : "";
      const place = row.querySelector(".doubt");
      place.textContent = doubt;
      place.title = doubt ? "Divergence on this frame" : "";
      place.classList.toggle("high", Number(doubt) >= (this.session.threshold ?? 0.5));
    }
    const { scope, frame } = this.form.elements;
    if (frame) frame.value = this.view.frame;
    if (scope && this.typed !== this.#place()) {
      this.typed = null;
      scope.value = this.#scope();
    }
  }

  #row(object, index) {
    const { view } = this;
    const row = document.createElement("li");
    row.dataset.object = object.number;
    const eye = button(`eye-${object.number}`, "eye", view.hidden.has(object.number) ? `Show ${object.name}` : `Hide ${object.name}`);
    eye.dataset.act = "eye";
    eye.setAttribute("aria-pressed", String(view.hidden.has(object.number)));
    const dot = document.createElement("span");
    dot.className = "swatch";
    dot.style.background = view.colours.get(object.number) ?? "";
    eye.append(dot);
    const name = button(`object-${object.number}`, "object", "");
    name.dataset.act = "choose";
    name.setAttribute("aria-pressed", String(view.selected === object.number));
    name.title = index < SHORTCUTS ? `Select (${index + 1})` : "Select";
    const words = document.createElement("span");
    words.className = "name";
    words.textContent = object.name;
    const label = document.createElement("small");
    label.textContent = object.label;
    if (object.name !== object.label && object.name !== `${object.label} ${object.number}`) words.append(label);
    const doubt = document.createElement("span");
    doubt.className = "doubt";
    const key = document.createElement("kbd");
    key.textContent = index < SHORTCUTS ? index + 1 : "";
    name.append(words, doubt, key);
    row.append(eye, name);
    return row;
  }

  #fillForm() {
    const { form, session, view } = this;
    const object = session.object(view.selected);
    form.hidden = !object || !this.edits;
    if (form.hidden) return;
    const { name, label, colour, into } = form.elements;
    if (document.activeElement !== name) name.value = object.name;
    fill(label, session.labels, object.label);
    colour.value = view.colours.get(object.number) ?? "#888888";
    const others = session.objects.filter((each) => each.number !== object.number && each.label === object.label);
    const wanted = others.some((each) => String(each.number) === into.value) ? into.value : "";
    const none = others.length ? "Another object…" : `No other ${object.label}`;
    fill(into, [{ name: "", text: none }, ...others.map((each) => ({ name: String(each.number), text: each.name }))], wanted);
    into.disabled = !others.length;
    this.#ready();
  }

  // A choice alone merges nothing: it is passed over by every arrow key.
  #ready() { this.form.querySelector("[data-act='merge']").disabled = !this.form.elements.into.value; }

  #place() { return `${this.view.frame}/${this.view.selected}`; }

  #scope() {
    const { session, view } = this;
    const next = session.keys.next(view.frame, 1);
    const { sequence } = view;
    const end = next === null ? sequence.last : next - sequence.step;
    return end > view.frame ? `${view.frame}-${end}` : String(view.frame);
  }

  #listen() {
    this.list.addEventListener("click", (event) => {
      const place = event.target.closest("button");
      const number = Number(place?.closest("[data-object]")?.dataset.object);
      if (!place) return;
      if (place.dataset.act === "choose") { this.choose(number); return; }
      const { hidden } = this.view;
      if (!hidden.delete(number)) hidden.add(number);
      this.render();
    });
    this.root.querySelector("#add")?.addEventListener("click", () => this.add());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => { if (event.target.name === "scope") this.typed = this.#place(); });
    this.form.addEventListener("change", (event) => this.#edited(event.target));
    this.form.addEventListener("click", (event) => {
      const act = event.target.closest("button")?.dataset.act;
      if (act) this.#pressed(act);
    });
  }

  #edited(field) {
    const object = this.view.selected;
    if (field.name === "name") {
      const name = field.value.trim();
      if (name) this.act({ action: "rename", object, name }).then(() => this.#fillForm()); else this.#fillForm();
    }
    if (field.name === "label") this.act({ action: "relabel", object, label: field.value });
    if (field.name === "colour") {
      this.view.own.set(object, field.value);
      localStorage.setItem(this.stored, JSON.stringify([...this.view.own]));
      this.render();
    }
    if (field.name === "into") this.#ready();
  }

  // Do it, show what is at hand afterwards, and say what became of which frames.
  async #pressed(act) {
    const { view, session, form } = this;
    const object = view.selected, { frame } = view, { name } = session.object(object);
    const told = (answer, more) => this.say(doneText(act, name, { frame, ...more }, answer));
    if (act === "start" || act === "end") {
      const answer = await this.act({ action: act, object, frame });
      if (answer) told(answer);
    }
    if (act === "split") {
      const answer = await this.act({ action: act, object, frame });
      if (!answer) return;
      await session.read();
      this.choose(answer.object, { tell: false });
      told(answer, { other: session.object(answer.object)?.name });
    }
    if (act === "merge") {
      const into = Number(form.elements.into.value), other = session.object(into).name;
      const answer = await this.act({ action: act, objects: [object, into], into });
      if (!answer) return;
      this.choose(into, { tell: false });
      told(answer, { other });
    }
    if (act === "delete" || act === "forget") {
      const found = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(form.elements.scope.value);
      if (!found) { form.elements.scope.focus(); this.say("Give the frames as 31 or 31-60."); return; }
      const from = Number(found[1]), to = Number(found[2] ?? found[1]);
      const answer = await this.range({ action: act, objects: [object], from, to });
      if (!answer) return;
      await session.read(); // what is to be computed again is known before anybody steps there
      this.typed = null;
      this.mark();
      told(answer, { from, to });
    }
  }

  #recall() {
    try {
      for (const [object, colour] of JSON.parse(localStorage.getItem(this.stored)) ?? []) this.view.own.set(object, colour);
    } catch { localStorage.removeItem(this.stored); } // not of our making
  }
}

function button(id, kind, label) {
  const made = document.createElement("button");
  made.type = "button";
  made.id = id;
  made.className = kind;
  if (label) { made.setAttribute("aria-label", label); made.title = label; }
  return made;
}

function fill(select, choices, chosen) {
  select.replaceChildren(...choices.map(({ name, text }) => {
    const option = document.createElement("option");
    option.value = name;
    option.textContent = text ?? name;
    return option;
  }));
  if (chosen !== undefined) select.value = chosen;
}
