// The studio's tools in the panel: tracking a range both ways, and saving components.

import { call } from "./api.js";
import { panel as opening } from "./panel.js";

const root = document.getElementById("studio");
const form = document.getElementById("component-form");
const list = document.getElementById("component-list");
const told = document.getElementById("studio-said");
const job = `/api/jobs/${encodeURIComponent(document.getElementById("panel").dataset.job)}`;
const path = `${job}/components`;
const tell = (text) => { told.textContent = text; };

opening.then(begin, () => {}); // the panel has said what is wrong

async function begin(panel) {
  const { session, sequence, view } = panel;
  const buttons = form ? Object.fromEntries([...form.querySelectorAll("[data-studio-do]")].map((each) => [each.dataset.studioDo, each])) : {};
  let tracking = false; // whether frames that come are shown
  let named = ""; // the component's name as we wrote it; a person's own stays

  root.hidden = false;
  if (form) {
    form.elements.from.value = sequence.first;
    form.elements.to.value = sequence.last;
    buttons.prepare.addEventListener("click", () => work(buttons.prepare, prepare));
    buttons.submit.addEventListener("click", () => (tracking ? stop() : work(null, track)));
    form.addEventListener("submit", (event) => { event.preventDefault(); work(event.submitter, save); });
    document.addEventListener("panel:state", name);
    session.addEventListener("state", name);
    name();
  }
  const queue = document.getElementById("to-queue");
  queue?.addEventListener("click", () => work(queue, toQueue));
  await show().catch((error) => panel.complain(error.message));

  // The name of the chosen object, until a person types another one.
  function name() {
    const field = form.elements.component;
    const object = panel.object;
    if (!object || document.activeElement === field || field.value !== named) return;
    field.value = named = saved(object.number)?.component ?? plain(object.name || object.label);
  }

  async function work(button, task) {
    if (button) button.disabled = true;
    try {
      await panel.tools.settle();
      await task();
    } catch (error) {
      tell("");
      panel.complain(error.message);
    }
    if (button) button.disabled = false;
  }

  function range() {
    const [from, to] = ["from", "to"].map((each) => Number(form.elements[each].value.trim() || NaN));
    if (!sequence.holds(from) || !sequence.holds(to) || from > to) {
      throw new Error(`The range is not one of this sequence: give frames from ${sequence.first} to ${sequence.last}.`);
    }
    return [from, to];
  }

  async function requireWorker() {
    await session.read(); // a worker may just have come, and what was drawn is heard of later
    if (!session.worker) throw new Error("No worker is running: start one with ./start_worker.sh NAME.");
  }

  async function prepare() {
    const { frame } = view;
    await requireWorker();
    tell("Preparing…");
    const { id } = await session.send("prepare", { frame });
    await session.end(id, ({ waiting, share }) => tell(waiting ? "Waits for the worker…" : share ? `Preparing, ${Math.round(100 * share)} %…` : "Preparing…"));
    tell(`Frame ${frame} is prepared.`);
  }

  // Both ways are asked for at once, so that they go on when this page is closed.
  async function track() {
    const [from, to] = range();
    await requireWorker();
    if (session.keys.next(sequence.first - sequence.step, 1) === null) throw new Error("Nothing is drawn yet: add an object and draw it on this frame, then submit.");
    const start = Math.min(to, Math.max(from, view.frame));
    const ways = [[start, to], [start, from]].filter(([one, other]) => one !== other);
    const ids = [];
    for (const [first, last] of ways) ids.push((await session.send("step", { from: first, to: last })).id);
    tracking = true;
    buttons.submit.textContent = "Stop";
    try {
      for (const id of ids) if (!(await follow(id, to - from + 1))) { tell(`Stopped at frame ${view.frame}.`); return; }
      tell(`Frames ${from} to ${to} are tracked.`);
    } finally {
      tracking = false;
      buttons.submit.textContent = "Submit";
    }
  }

  // Show the frames of a request as they come, until somebody looks at another one; -> whether it
  // went to its end.
  async function follow(id, count) {
    let ours = view.frame;
    let shown = Promise.resolve();
    const end = await session.end(id, ({ frame, done, waiting }) => {
      tell(waiting ? "Waits for the worker…" : `Tracking, ${done} of ${count} frames…`);
      if (frame == null || view.frame !== ours || frame === ours) return;
      session.known(frame);
      shown = shown.then(async () => { if (view.frame === ours && await view.show(frame)) ours = frame; });
    });
    await shown;
    if (end?.frame != null && view.frame === ours) await view.show(end.frame);
    return end?.state === "done";
  }

  async function stop() {
    try { await session.send("stop"); } catch (error) { panel.complain(error.message); }
  }

  async function toQueue() {
    tell("Accepting…");
    await session.send("accept", { until: null });
    await call("POST", `${job}/drawn`);
    location.assign(`/jobs/${encodeURIComponent(session.job)}`);
  }

  async function save() {
    const [from, to] = range();
    const { object } = panel;
    if (!object) throw new Error("There is no object yet: add one, click on it, and save it then.");
    const component = form.elements.component.value.trim();
    tell(`Saving ${component}…`);
    const answer = await call("POST", path, { component, object: object.number, from, to });
    const notes = [];
    if (answer.untracked) notes.push(`frames ${answer.untracked} are not tracked yet and are empty`);
    else if (answer.empty) notes.push(`${answer.empty} of them are empty`);
    tell(`${answer.frames} pictures are in ${answer.folder}${notes.length ? `; ${notes.join(", ")}` : ""}.`);
    await show();
  }

  async function reset(component) {
    await call("DELETE", `${path}/${encodeURIComponent(component)}`);
    tell(`${component} is reset.`);
    await show();
  }

  async function show() {
    components = (await call("GET", path)).components;
    document.getElementById("component-zip").hidden = components.length === 0;
    list.replaceChildren(...components.map((each) => {
      const line = document.createElement("li");
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      dot.setAttribute("viewBox", "0 0 10 10");
      dot.setAttribute("aria-hidden", "true");
      const circle = dot.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "circle"));
      for (const [key, value] of Object.entries({ cx: 5, cy: 5, r: 5, fill: each.color })) circle.setAttribute(key, value);
      const words = document.createElement("span");
      const title = document.createElement("b");
      title.textContent = each.component;
      words.append(title, ` ${each.first}–${each.last}`);
      line.append(dot, words);
      if (form) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "quiet";
        button.textContent = "Reset";
        button.setAttribute("aria-label", `Reset ${each.component}`);
        button.addEventListener("click", () => work(button, () => reset(each.component)));
        line.append(button);
      }
      return line;
    }));
  }
}

let components = [];

function saved(number) { return components.find((each) => each.object === number); }

// A name that a folder may have.
function plain(text) {
  return text.replace(/[^\p{L}\p{N} ._-]+/gu, " ").replace(/^[^\p{L}\p{N}]+|[ .]+$/gu, "").slice(0, 64);
}
