// The form that starts a run, or one run on each of several jobs with the same options: remembers
// the last choice, shows the plan, and starts only what has one.

import { call, page } from "./api.js";
import { length } from "./times.js";

const KEY = "mask-relay.start";
const dialog = document.getElementById("start");
const form = dialog.querySelector("form");
const plan = document.getElementById("plan");
const start = form.querySelector("[type='submit']");
const more = document.getElementById("more-options");
let jobs = []; // of {id, name, earlier, again, keys}
let begun = () => {};
let timer = 0;
let asked = 0;
let ready = []; // the jobs whose plans can be started

// `whenBegun` hears of {started: [jobs], refused: [sentences]}.
export function openStart(chosen, whenBegun) {
  jobs = chosen;
  begun = whenBegun;
  form.reset();
  recall();
  const [first] = jobs;
  const title = jobs.length > 1 ? `Start ${jobs.length} jobs` : first.again ? `Run ${first.name} again` : `Start ${first.name}`;
  document.getElementById("start-title").textContent = title;
  for (const element of form.querySelectorAll("[data-one]")) element.hidden = jobs.length > 1;
  const { mode } = form.elements;
  const earlier = jobs.some((job) => job.earlier);
  for (const choice of mode) choice.disabled = choice.value === "resegment" && !earlier;
  if (!earlier) mode.value = "initial";
  else if (jobs.every((job) => job.earlier && !job.again)) mode.value = "resegment"; // corrections
  more.open = more.open || changes() > 0 || jobs.some((job) => job.keys === 0);
  fit();
  plan.replaceChildren();
  start.disabled = true;
  dialog.showModal();
  form.querySelector("[name='mode']:checked").focus();
  showPlan();
}

form.addEventListener("input", () => {
  fit();
  clearTimeout(timer);
  timer = setTimeout(showPlan, 250);
});
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { asked += 1; });
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  start.disabled = true;
  // Asked again: what was typed a moment ago may not be planned yet.
  if (!(await showPlan()) || !dialog.open) return;
  start.disabled = true;
  const started = [];
  const refused = [];
  for (const job of ready) {
    if (jobs.length > 1) say(`Starting ${started.length + refused.length + 1} of ${ready.length}…`, "facts");
    try {
      await call("POST", `/api/jobs/${encodeURIComponent(job.id)}/runs`, options());
      started.push(job);
    } catch (error) {
      refused.push(jobs.length > 1 ? `${job.name}: ${error.message}` : error.message);
    }
  }
  if (started.length) keep();
  if (started.length || jobs.length > 1) {
    dialog.close();
    begun({ started, refused });
  } else say(refused[0]);
  start.disabled = false;
});

// Only a re-segmentation has a previous result to start from, and frames mean something else in it.
function fit() {
  const { mode, reuse_previous: reuse, engine, segmenter } = form.elements;
  reuse.disabled = mode.value !== "resegment";
  for (const help of form.querySelectorAll("[data-mode]")) help.hidden = help.dataset.mode !== mode.value;
  const count = changes();
  document.getElementById("options-changed").textContent = count ? `${count} changed` : "";
  describe("engine", engine);
  describe("segmenter", segmenter);
}

// Say of the choice what it is good for and whether a worker has it, and mark those that none has.
function describe(kind, select) {
  const notes = new Map([...document.querySelectorAll(`#engine-notes [data-of='${kind}']`)].map((note) => [note.dataset.name, note]));
  for (const option of select.options) {
    const missing = notes.get(option.value)?.dataset.presence === "missing";
    option.textContent = missing ? `${option.value} (not present)` : option.value;
  }
  const chosen = notes.get(select.value);
  const place = document.getElementById(`${kind}-note`);
  place.textContent = chosen?.textContent ?? "";
  place.classList.toggle("remark", chosen?.dataset.presence === "missing");
}

// How many of the folded options are not as they come.
function changes() {
  return [...more.querySelectorAll("input, select")].filter((field) => {
    if (field.type === "checkbox") return field.checked !== field.defaultChecked;
    if (field.type === "number") return field.value !== field.defaultValue;
    const usual = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
    return field.value !== usual.value;
  }).length;
}

function options() {
  const { elements } = form;
  return {
    mode: elements.mode.value,
    engine: elements.engine.value,
    frames: jobs.length > 1 ? "" : elements.frames.value.trim(),
    direction: elements.direction.value,
    keyframes: elements.keyframes.value,
    prompts: elements.prompts.value,
    segmenter: elements.segmenter.value,
    refine: elements.refine.checked,
    stop_at_divergence: elements.stop_at_divergence.valueAsNumber || 0,
    min_speck: elements.min_speck.valueAsNumber || 0,
    min_hole: elements.min_hole.valueAsNumber || 0,
    parallel_spans: elements.parallel_spans.valueAsNumber || 0,
    reuse_previous: elements.reuse_previous.checked && !elements.reuse_previous.disabled,
    delete_zip: elements.delete_zip.checked,
    priority: elements.priority.value,
  };
}

// Show what the choice would compute; returns whether that can be started.
async function showPlan() {
  const mine = ++asked;
  try {
    const done = jobs.length > 1 ? await planMany(mine) : await planOne(mine);
    if (mine !== asked) return false;
    start.disabled = !done;
    return done;
  } catch (error) {
    if (mine !== asked) return false;
    say(error.message);
    start.disabled = false; // a server that was away for a moment can be asked once more
    return false;
  }
}

async function planOne(mine) {
  const { dom, startable } = await ask(jobs[0]);
  if (mine !== asked) return false;
  plan.replaceChildren(...[...dom.body.children].map((child) => document.adoptNode(child)));
  ready = startable ? jobs : [];
  return Boolean(startable);
}

// One plan after the other; what cannot be started is told, and all others can be.
async function planMany(mine) {
  const able = [];
  const refused = [];
  let frames = 0, seconds = 0;
  for (const job of jobs) {
    say(`Planning ${able.length + refused.length + 1} of ${jobs.length}…`, "facts");
    const { dom, startable } = await ask(job);
    if (mine !== asked) return false;
    if (startable) {
      able.push(job);
      frames += Number(startable.dataset.frames);
      seconds += Number(startable.dataset.seconds);
    } else refused.push(`${job.name}: ${(dom.querySelector(".reason, .facts")?.textContent ?? "").trim()}`);
  }
  ready = able;
  const total = able.length ? `Computes ${frames.toLocaleString("en")} frames of ${able.length} of ${jobs.length} jobs, one after the other about ${length(seconds)}.` : "None of these jobs can be started so.";
  say(total, "facts");
  if (refused.length) {
    const list = document.createElement("ul");
    for (const sentence of refused) list.append(Object.assign(document.createElement("li"), { textContent: sentence }));
    const box = Object.assign(document.createElement("details"), { className: "warnings", open: true });
    box.append(Object.assign(document.createElement("summary"), { textContent: `${refused.length} will not be started` }), list);
    plan.append(box);
  }
  return able.length > 0;
}

async function ask(job) {
  const { status, dom } = await page(`/jobs/${encodeURIComponent(job.id)}/plan`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(options()),
  });
  if (status !== 200) throw new Error(dom.querySelector("main p")?.textContent || "The server failed.");
  return { dom, startable: dom.querySelector("[data-startable]") };
}

function say(sentence, kind = "reason") {
  plan.replaceChildren(Object.assign(document.createElement("p"), { className: kind, textContent: sentence }));
}

// Frames and priority belong to one run, all other choices to the person.
function keep() {
  const { frames, priority, ...rest } = options();
  try { localStorage.setItem(KEY, JSON.stringify(rest)); } catch { /* storage may be switched off */ }
}

function recall() {
  let last = {};
  try { last = JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { /* nothing was kept */ }
  for (const [name, value] of Object.entries(last)) {
    const field = form.elements[name];
    if (!field) continue;
    if (field.type === "checkbox") field.checked = value === true;
    else field.value = String(value);
  }
  for (const select of form.querySelectorAll("select")) if (select.selectedIndex < 0) select.selectedIndex = 0;
  if (!form.elements.mode.value) form.elements.mode.value = "initial";
}
