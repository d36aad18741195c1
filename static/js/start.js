// The form that starts a run: remembers the last choice, shows the plan, and starts only what has one.

import { call, page } from "./api.js";

const KEY = "mask-relay.start";
const dialog = document.getElementById("start");
const form = dialog.querySelector("form");
const plan = document.getElementById("plan");
const start = form.querySelector("[type='submit']");
let job = "";
let begun = () => {};
let timer = 0;
let asked = 0;

export function openStart({ id, name, earlier, again }, whenBegun) {
  job = id;
  begun = whenBegun;
  form.reset();
  recall();
  document.getElementById("start-title").textContent = again ? `Run ${name} again` : `Start ${name}`;
  const { mode } = form.elements;
  for (const choice of mode) choice.disabled = choice.value === "resegment" && !earlier;
  if (!earlier) mode.value = "initial";
  else if (!again) mode.value = "resegment"; // a new revision of what has a result: corrections
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
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  start.disabled = true;
  // Asked again: what was typed a moment ago may not be planned yet.
  if (!(await showPlan()) || !dialog.open) return;
  start.disabled = true;
  try {
    const run = await call("POST", `/api/jobs/${encodeURIComponent(job)}/runs`, options());
    keep();
    dialog.close();
    begun(run);
  } catch (error) {
    say(error.message);
  }
  start.disabled = false;
});

// Only a re-segmentation has a previous result to start from, and frames mean something else in it.
function fit() {
  const { mode, reuse_previous: reuse } = form.elements;
  reuse.disabled = mode.value !== "resegment";
  for (const help of form.querySelectorAll("[data-mode]")) help.hidden = help.dataset.mode !== mode.value;
}

function options() {
  const { elements } = form;
  return {
    mode: elements.mode.value,
    engine: elements.engine.value,
    frames: elements.frames.value.trim(),
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
    const { status, dom } = await page(`/jobs/${encodeURIComponent(job)}/plan`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(options()),
    });
    if (status !== 200) throw new Error(dom.querySelector("main p")?.textContent || "The server failed.");
    if (mine !== asked) return false;
    const startable = dom.querySelector("[data-startable]") !== null;
    plan.replaceChildren(...[...dom.body.children].map((child) => document.adoptNode(child)));
    start.disabled = !startable;
    return startable;
  } catch (error) {
    if (mine !== asked) return false;
    say(error.message);
    start.disabled = false; // a server that was away for a moment can be asked once more
    return false;
  }
}

function say(sentence) {
  const line = document.createElement("p");
  line.className = "reason";
  line.textContent = sentence;
  plan.replaceChildren(line);
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
