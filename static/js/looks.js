// How masks are shown: opacity, outlines, hidden at all, and the chips that name compared layers.

const KEY = "mask-relay.look";

export class Looks {
  constructor(root, stage, lanes) {
    this.root = root;
    this.stage = stage;
    this.opacity = root.querySelector("#opacity");
    this.chips = ["#chip-a", "#chip-b"].map((each) => root.querySelector(each));
    this.state = { opacity: 45, outlines: true, masks: true };
    try { Object.assign(this.state, JSON.parse(localStorage.getItem(KEY))); } catch { /* nothing was kept */ }
    this.state.masks = true; // hidden masks would be missed the next day
    this.opacity.value = this.state.opacity;
    this.opacity.addEventListener("input", () => { this.state.opacity = this.opacity.valueAsNumber; this.#apply(); });
    lanes.addEventListener("look", () => stage.look({ colours: lanes.colours, hidden: new Set(lanes.hidden), selected: lanes.selected }));
    this.#apply();
  }

  toggle(name) {
    this.state[name] = !this.state[name];
    this.#apply();
  }

  compare(mode, one, other) {
    this.stage.compare({ mode });
    [one, other].forEach((title, index) => {
      this.chips[index].hidden = mode === "off" || !title;
      this.chips[index].textContent = title;
    });
  }

  #apply() {
    const { opacity, outlines, masks } = this.state;
    this.stage.look({ opacity: opacity / 100, outlines, masks });
    for (const name of ["outlines", "masks"]) this.root.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", String(this.state[name]));
    try { localStorage.setItem(KEY, JSON.stringify(this.state)); } catch { /* storage may be switched off */ }
  }
}
