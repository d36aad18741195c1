// Entry of every page: live parts, the buttons on cards, uploads, and a few keys.

import { call } from "./api.js";
import { listen } from "./live.js";
import { note } from "./notes.js";
import { Refresh } from "./refresh.js";
import { openStart } from "./start.js";
import { tellTimes } from "./times.js";
import { acceptFiles } from "./upload.js";

const link = document.getElementById("link");
const lostText = "Connection lost, trying again…";
let away = false;

function tell(text) {
  link.textContent = text;
  link.hidden = text === "";
}

const refresh = new Refresh((error) => {
  if (error) { away = true; tell(lostText); }
  else if (away) { away = false; tell(""); }
});
const changed = () => refresh.soon();
listen({
  job: document.querySelector("[data-page-job]")?.dataset.pageJob,
  changed,
  lost: () => { away = true; tell(lostText); },
  found: () => { away = false; tell(""); },
});
acceptFiles(changed);
setInterval(() => tellTimes(), 30000);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  const { action, job, name, earlier, again } = button.dataset;
  if (action === "upload") { document.getElementById("choose").click(); return; }
  const path = `/api/jobs/${encodeURIComponent(job)}`;
  if (action === "start") {
    openStart({ id: job, name, earlier: earlier === "yes", again: again === "yes" }, () => { note(`${name} is queued.`); changed(); });
    return;
  }
  const question = `Delete ${name} with its revisions, runs and results on this server? Its archive in the downloads folder stays.`;
  if (action === "delete" && !(await sure(question))) return;
  button.disabled = true;
  try {
    await call(action === "delete" ? "DELETE" : "POST", action === "delete" ? path : `${path}/${action}`);
    if (action === "delete" && document.querySelector("[data-page-job]")) {
      location.assign("/"); // there is no such page any more
      return;
    }
  } catch (error) {
    note(error.message, { bad: true });
  }
  button.disabled = false;
  changed();
});

function sure(question) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-question").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

const search = document.getElementById("search");
if (search) {
  let timer = 0;
  const look = () => {
    const address = new URL(location.href);
    if (search.value.trim()) address.searchParams.set("search", search.value.trim());
    else address.searchParams.delete("search");
    history.replaceState(null, "", address);
    refresh.now();
  };
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 250); });
  search.form.addEventListener("submit", (event) => { event.preventDefault(); look(); });
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea, dialog *");
  if (event.key === "Escape") for (const open of document.querySelectorAll("details.workers[open]")) open.open = false;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
  if (event.key === "u") document.getElementById("choose")?.click();
});
document.addEventListener("click", (event) => {
  const menu = document.querySelector("details.workers[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
});
