// What people do to jobs: one at a time by the buttons of a card, or to all that are selected.

import { call } from "./api.js";
import { note } from "./notes.js";
import { openStart } from "./start.js";

const DONE = { retry: "queued again", resume: "resumed", pause: "paused", cancel: "cancelled", delete: "deleted" };

// `element`: a card or the button of one. -> what the actions need to know of its job.
export function jobOf(element) {
  const button = element.matches("[data-action]") ? element : element.querySelector("[data-action='start']");
  const { job, name } = element.dataset;
  const { earlier, again, keys } = button?.dataset ?? {};
  return { id: job, name, earlier: earlier === "yes", again: again === "yes", keys: Number(keys ?? 1) };
}

// Do it to one or many jobs; resolves when it is done, and says what came of it.
export async function act(action, jobs, changed) {
  if (!jobs.length) return;
  if (action === "start") {
    openStart(jobs, ({ started, refused }) => {
      if (started.length === 1) note(`${started[0].name} is queued.`);
      else if (started.length) note(`${started.length} jobs are queued.`);
      complain(refused);
      changed();
    });
    return;
  }
  if (action === "delete" && !(await sure(question(jobs)))) return;
  const refused = [];
  for (const { id, name } of jobs) {
    const path = `/api/jobs/${encodeURIComponent(id)}`;
    try {
      await call(action === "delete" ? "DELETE" : "POST", action === "delete" ? path : `${path}/${action}`);
    } catch (error) {
      refused.push(jobs.length > 1 ? `${name}: ${error.message}` : error.message);
    }
  }
  if (jobs.length > 1 && refused.length < jobs.length) note(`${jobs.length - refused.length} jobs ${DONE[action]}.`);
  complain(refused);
  changed();
}

function complain(sentences) {
  const shown = sentences.slice(0, 3);
  for (const sentence of shown) note(sentence, { bad: true });
  if (sentences.length > shown.length) note(`And ${sentences.length - shown.length} more could not be done.`, { bad: true });
}

function question(jobs) {
  const what = jobs.length > 1 ? `these ${jobs.length} jobs with their` : `${jobs[0].name} with its`;
  const stays = jobs.length > 1 ? "Their archives in the downloads folder stay." : "Its archive in the downloads folder stays.";
  return `Delete ${what} revisions, runs and results on this server? ${stays}`;
}

function sure(text) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-question").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
