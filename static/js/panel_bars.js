// The bars round the picture: they show the state of the session and pass on what is pressed.

import { busyText, peopleText } from "./panel_words.js";

const TOOL_WORDS = { points: "point", box: "box" };

export class Bars {
  constructor(parts) {
    Object.assign(this, parts);
    const find = (id) => document.getElementById(id);
    for (const id of ["hint", "people", "serves", "engine", "pill", "uncomputed", "trouble", "kind", "anew", "size", "radius", "opacity"]) this[`${id}Part`] = find(id);
    this.field = find("frame");
    this.linkPart = find("link");
    find("last").textContent = `/ ${this.sequence.last}`;
    this.buttons = (name) => this.root.querySelectorAll(`[data-do="${name}"]`);
  }

  // `does`: what each button calls by its name.
  bind(does) {
    this.root.addEventListener("click", (event) => {
      const { do: name, tool } = event.target.closest("button")?.dataset ?? {};
      if (name && name !== "accept") does[name]?.();
      if (tool) this.tools.take(tool);
    });
    for (const button of this.root.querySelectorAll("[data-hold]")) this.#hold(button, does);
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.#jump(); }
      if (event.key === "Escape") { this.field.value = this.view.frame; this.field.blur(); }
    });
    this.field.addEventListener("focus", () => this.field.select());
    this.field.addEventListener("blur", () => { this.field.value = this.view.frame; });
    this.opacityPart?.addEventListener("input", () => this.view.set({ opacity: this.opacityPart.valueAsNumber / 100 }));
    this.anewPart.addEventListener("change", (event) => this.tools.mend(event.target.checked));
    this.enginePart?.addEventListener("change", () => this.session.send("engine", { engine: this.enginePart.value })
      .catch((error) => { this.steps.complain(error.message); this.render(); }));
    this.hintPart.querySelector("button").addEventListener("click", () => this.#renew());
    this.render();
  }

  link(here) {
    this.linkPart.textContent = "Connection lost, trying again…";
    this.linkPart.hidden = here;
  }

  render() {
    const { session, view, tools, steps } = this;
    if (document.activeElement !== this.field) this.field.value = view.frame;
    const kind = view.kind();
    const outdated = kind.startsWith("computed before");
    this.kindPart.textContent = outdated ? "Outdated" : kind[0].toUpperCase() + kind.slice(1);
    this.kindPart.title = outdated ? "Computed before the last correction; Forward computes it anew" : "";
    this.kindPart.dataset.kind = kind;
    this.peoplePart.textContent = peopleText(session.people ?? []);
    for (const button of this.buttons("undo")) button.disabled = !session.canUndo && !tools.asks;
    for (const button of this.buttons("redo")) button.disabled = !session.canRedo;
    for (const name of ["play", "playBack"]) for (const button of this.buttons(name)) button.hidden = Boolean(steps.playing);
    for (const button of this.buttons("stop")) button.hidden = !steps.playing;
    for (const button of this.buttons("masks")) button.setAttribute("aria-pressed", String(!view.settings.masks));
    for (const button of this.buttons("outlines")) button.setAttribute("aria-pressed", String(view.settings.outlines));
    for (const button of this.buttons("setKey")) button.setAttribute("aria-pressed", String(session.keys.has(view.frame)));
    this.#tools();
    this.#pills();
    this.#hint();
    this.#engine();
    this.troublePart.textContent = view.trouble ?? "";
    this.troublePart.hidden = !view.trouble;
  }

  #tools() {
    const { tools } = this;
    for (const button of this.root.querySelectorAll("[data-tool]")) {
      if (button.tagName === "BUTTON") button.setAttribute("aria-pressed", String(button.dataset.tool === tools.name));
    }
    for (const button of this.buttons("sign")) {
      const words = tools.positive ? "Adds to the object" : "Takes from the object";
      button.setAttribute("aria-pressed", String(tools.positive));
      button.setAttribute("aria-label", words);
      button.title = `${words} (X turns it; Alt or the right button: once)`;
    }
    if (!this.sizePart) return;
    this.sizePart.hidden = tools.name !== "brush" && tools.name !== "eraser";
    this.radiusPart.textContent = tools.radius;
  }

  #pills() {
    const { tools, view, session, steps } = this;
    const words = document.getElementById("pill-words");
    this.pillPart.hidden = !tools.asks;
    this.pillPart.classList.toggle("bad", tools.unsaved !== null);
    if (tools.unsaved) words.textContent = "What you drew is not saved yet.";
    else if (tools.asks) {
      const name = session.object(tools.draft?.object ?? view.selected)?.name ?? "";
      const { points, asking } = tools.tool;
      const count = points.length || 1;
      words.textContent = asking ? "Finding it…" : `${count} ${TOOL_WORDS[tools.name]}${count === 1 ? "" : "s"} on ${name}`;
    }
    for (const button of this.pillPart.querySelectorAll("[data-do='keep']")) button.textContent = tools.unsaved ? "Try again" : "Keep";
    this.anewPart.hidden = tools.name !== "points" || tools.unsaved !== null || !view.mask(tools.draft?.object);
    this.anewPart.querySelector("input").checked = tools.anew;
    this.uncomputedPart.hidden = !steps.edits || tools.asks || Boolean(steps.playing) || steps.busy || session.computed.has(view.frame)
      || !session.worker || session.computed.flags.indexOf(1) < 0;
  }

  #hint() {
    const { session } = this;
    const button = this.hintPart.querySelector("button");
    const words = session.stale || (session.worker ? "" : "No worker is running: start one with ./start_worker.sh NAME. What is computed can be looked at and corrected.");
    const place = this.hintPart.querySelector("span");
    if (place.textContent !== words) place.textContent = words;
    this.hintPart.hidden = !words;
    button.hidden = !session.stale || !document.getElementById("confirm");
    button.textContent = "Begin anew from it";
    const busy = busyText(session.busy);
    this.servesPart.firstElementChild.className = session.worker ? "dot good" : "dot idle";
    this.servesPart.lastElementChild.textContent = busy || session.worker || "No worker";
  }

  #engine() {
    const { enginePart, session } = this;
    if (!enginePart || !session.engines) return;
    const gist = JSON.stringify(session.engines);
    if (this.known !== gist) {
      this.known = gist;
      enginePart.replaceChildren(...session.engines.map(({ name, summary, learns, ready }) => {
        const option = document.createElement("option");
        option.value = name;
        option.textContent = learns && !ready ? `${name} (learns first)` : name;
        option.title = summary ?? "";
        return option;
      }));
    }
    if (document.activeElement !== enginePart) enginePart.value = session.engine;
  }

  #jump() {
    const wanted = this.field.value.trim();
    const { sequence } = this;
    if (!/^\d+$/.test(wanted) || !sequence.holds(Number(wanted))) {
      const every = sequence.step > 1 ? ` in steps of ${sequence.step}` : "";
      this.steps.complain(`There is no frame "${wanted}": this job has frames ${sequence.first} to ${sequence.last}${every}.`);
      this.field.select();
      return;
    }
    this.field.blur();
    this.steps.go(Number(wanted));
  }

  // A press is a step; held for a while it runs.
  #hold(button, does) {
    const direction = Number(button.dataset.hold);
    let timer = 0, ran = false;
    const release = () => { clearTimeout(timer); timer = 0; does.release(); };
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      ran = false;
      timer = setTimeout(() => { ran = true; does.hold(direction); }, 350);
    });
    for (const name of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(name, release);
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("click", () => { if (!ran) does.step(direction); ran = false; });
  }

  #renew() {
    const dialog = document.getElementById("confirm");
    document.getElementById("confirm-question").textContent = "Begin anew from the newest revision? What was drawn and computed here since the last Accept goes.";
    dialog.returnValue = "no";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") return;
      this.session.send("reset").catch((error) => this.steps.complain(error.message));
    }, { once: true });
  }
}
