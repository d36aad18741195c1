// Keys of a page, and the dialog that lists them.
//
// A key is {on: ["ArrowLeft"], shown: "←", does: "one frame back", run(event)}; `on` takes
// "Shift+ArrowLeft" and "Control+z" (Control is Command on a Mac). `up`: when it is let go, unless
// run() is to be left out: `unless()` says so. Without `run` it is only listed.

const NATIVE = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"]);

export class Keys {
  // `groups`: [{title, keys: [...]}] in the order of the list.
  constructor(groups) {
    this.known = new Map();
    for (const key of groups.flatMap((group) => group.keys)) for (const name of key.on ?? []) this.known.set(name, key);
    this.down = new Map(); // what was pressed, by its place on the keyboard, of those that wait for its end
    this.dialog = list(groups);
    document.body.append(this.dialog);
    document.addEventListener("keydown", (event) => this.#pressed(event));
    document.addEventListener("keyup", (event) => this.#released(event));
  }

  open() { if (!this.dialog.open) this.dialog.showModal(); }

  #pressed(event) {
    if (event.defaultPrevented || isTaken(event)) return;
    const key = this.known.get(nameOf(event));
    if (!key && event.key === "?") this.open();
    if (!key?.run) return;
    event.preventDefault();
    if (!key.up) key.run(event);
    else if (!event.repeat) this.down.set(event.code, key);
  }

  // A Shift that is lifted first makes no other key of it.
  #released(event) {
    const key = this.down.get(event.code);
    this.down.delete(event.code);
    if (key && !isTaken(event) && !key.unless?.()) key.run(event);
  }
}

// Whether the key belongs to what has the focus: text fields, sliders, buttons, dialogs.
function isTaken({ target, key }) {
  if (!target.matches || target.matches("dialog *, textarea, select")) return true;
  if (target.matches("input[type='range']")) return NATIVE.has(key);
  if (target.matches("input[type='checkbox'], input[type='radio'], button, summary")) return key === " " || key === "Enter" || (target.type === "radio" && NATIVE.has(key));
  return target.matches("input, [contenteditable]") || (target.matches("a") && key === "Enter");
}

function nameOf(event) {
  if (event.altKey) return "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isSign = key.length === 1 && !/[a-z ]/.test(key); // such as +, which may need Shift
  return `${event.ctrlKey || event.metaKey ? "Control+" : ""}${event.shiftKey && !isSign ? "Shift+" : ""}${key}`;
}

function list(groups) {
  const make = (name, text = "") => Object.assign(document.createElement(name), { textContent: text });
  const dialog = Object.assign(make("dialog"), { className: "keys" });
  dialog.setAttribute("aria-labelledby", "keys-title");
  const form = Object.assign(make("form"), { method: "dialog" });
  const title = Object.assign(make("h2", "Keys"), { id: "keys-title" });
  const columns = Object.assign(make("div"), { className: "keys-columns" });
  for (const group of groups) {
    const section = make("section");
    const terms = make("dl");
    for (const { shown, does } of group.keys) {
      const term = make("dt");
      for (const one of [shown].flat()) term.append(make("kbd", one), " ");
      terms.append(term, make("dd", does));
    }
    section.append(make("h3", group.title), terms);
    columns.append(section);
  }
  const close = Object.assign(make("button", "Close"), { className: "primary" });
  const buttons = Object.assign(make("div"), { className: "buttons" });
  buttons.append(close);
  form.append(title, columns, buttons);
  dialog.append(form);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  return dialog;
}
