// The frames that are worth a correction, the most rewarding one first.

// Events: "goto" (detail: the item).
export class Worst extends EventTarget {
  constructor(root, panel) {
    super();
    this.panel = panel;
    this.list = root.querySelector("ol");
    this.words = root.querySelector("#worst-words");
    this.flagged = root.querySelector("#flagged");
    this.items = [];
  }

  // `data`: answer of GET timeline; `lanes`: knows the objects' names.
  set(data, lanes) {
    this.items = data.worst;
    const isScored = data.lanes.some(({ scores }) => scores.some((score) => score !== 255));
    this.flagged.textContent = isScored ? `${data.flagged} in doubt` : "";
    this.flagged.title = "Frames on which the divergence of an object is 0.5 or more";
    this.words.hidden = this.items.length > 0;
    this.words.textContent = isScored
      ? "No frame stands out: a correction is not expected to gain much."
      : "Which frames are worth a correction is known once a run has been published.";
    this.list.replaceChildren(...this.items.map((item) => this.#row(item, lanes)));
  }

  at(frame) {
    [...this.list.children].forEach((row, index) => {
      if (this.items[index].frame === frame) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
  }

  // The one that follows in the list where `frame` is in it, else the first.
  after(frame) {
    const at = this.items.findIndex((item) => item.frame === frame);
    return this.items[(at + 1) % this.items.length];
  }

  #row(item, lanes) {
    const row = document.createElement("li");
    const go = document.createElement("button");
    go.type = "button";
    const make = (name, text) => Object.assign(document.createElement(name), { textContent: text });
    const name = lanes.nameOf(item);
    go.append(make("b", item.frame), make("span", name), make("small", sentence(item)));
    go.addEventListener("click", () => this.dispatchEvent(new CustomEvent("goto", { detail: item })));
    const fix = make("a", "Fix");
    fix.href = `${this.panel}#${item.frame}`;
    fix.setAttribute("aria-label", `Fix frame ${item.frame}, ${name}`);
    row.append(go, fix);
    return row;
  }
}

function sentence({ reason, repairs }) {
  const count = Math.round(repairs);
  const gain = count < 1 ? "repairs less than one mask" : `repairs about ${count} ${count === 1 ? "mask" : "masks"}`;
  return reason ? `${reason}; ${gain}` : gain;
}
