// Cards that are selected, and what can be done to all of them at once.

import { act, jobOf } from "./actions.js";

export class Selection {
  constructor(changed) {
    this.changed = changed;
    this.chosen = new Set(); // ids of jobs
    this.last = null; // where a range begins
    this.bar = document.getElementById("selection");
    this.count = document.getElementById("selected-count");
    document.addEventListener("click", (event) => this.#clicked(event));
    document.addEventListener("change", (event) => {
      const box = event.target.dataset?.pickAll;
      if (box) this.pickAll(box, event.target.checked);
    });
    this.bar.addEventListener("click", (event) => this.#act(event.target.closest("button")));
    this.fit();
  }

  has(id) { return this.chosen.has(id); }

  // `range`: all cards from the one that was picked last.
  pick(id, on, range = false) {
    const ids = this.#cards().map((card) => card.dataset.job);
    const [from, to] = [ids.indexOf(this.last), ids.indexOf(id)];
    const some = range && from >= 0 ? ids.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const one of some) if (on) this.chosen.add(one); else this.chosen.delete(one);
    this.last = id;
    this.fit();
  }

  pickAll(box, on) {
    for (const card of document.querySelectorAll(`#cards-${box} > .card`)) {
      if (on) this.chosen.add(card.dataset.job); else this.chosen.delete(card.dataset.job);
    }
    this.fit();
  }

  clear() {
    this.chosen.clear();
    this.fit();
  }

  // Show what is selected; jobs that are not shown any more are not selected any more.
  fit() {
    const cards = this.#cards();
    const here = new Set(cards.map((card) => card.dataset.job));
    for (const id of this.chosen) if (!here.has(id)) this.chosen.delete(id);
    for (const card of cards) {
      const on = this.chosen.has(card.dataset.job);
      card.classList.toggle("picked", on);
      card.querySelector("[data-pick]").checked = on;
    }
    for (const all of document.querySelectorAll("[data-pick-all]")) {
      const inside = [...document.querySelectorAll(`#cards-${all.dataset.pickAll} > .card`)];
      const on = inside.filter((card) => this.chosen.has(card.dataset.job)).length;
      all.checked = on > 0 && on === inside.length;
      all.indeterminate = on > 0 && on < inside.length;
      all.closest("label").hidden = inside.length === 0;
    }
    const some = this.chosen.size > 0;
    document.body.classList.toggle("selecting", some);
    this.bar.hidden = !some;
    if (some) this.count.textContent = `${this.chosen.size} selected`;
    for (const button of this.bar.querySelectorAll("[data-many]")) {
      const able = this.#able(button.dataset.many).length;
      button.hidden = able === 0;
      button.dataset.count = able === this.chosen.size ? "" : String(able);
    }
  }

  #cards() { return [...document.querySelectorAll("[data-box]:not([hidden]) .card")]; }

  #able(action) {
    return this.#cards().filter((card) => this.chosen.has(card.dataset.job) && card.dataset.can.split(" ").includes(action));
  }

  #clicked(event) {
    const id = event.target.dataset?.pick;
    if (id) this.pick(id, event.target.checked, event.shiftKey);
  }

  async #act(button) {
    if (!button) return;
    if (button.id === "select-none") { this.clear(); return; }
    const { many } = button.dataset;
    const jobs = this.#able(many).map(jobOf);
    button.disabled = true;
    await act(many, jobs, this.changed);
    button.disabled = false;
  }
}
