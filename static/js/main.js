// Entry of every page: live parts, the buttons on cards, menus and uploads.

import { act, jobOf } from "./actions.js";
import { listen } from "./live.js";
import { Refresh } from "./refresh.js";
import { tellTimes } from "./times.js";
import { acceptFiles } from "./upload.js";

const link = document.getElementById("link");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
let away = false;
let seen = new Date();

function tell() {
  link.textContent = away ? `Connection lost, trying again… Shown as of ${clock.format(seen)}.` : "";
  link.hidden = !away;
}

export const refresh = new Refresh((error) => {
  away = error !== null;
  if (!away) seen = new Date();
  tell();
});
export const changed = () => refresh.soon();
listen({
  job: document.querySelector("[data-page-job]")?.dataset.pageJob,
  changed,
  lost: () => { away = true; tell(); },
  found: () => { away = false; tell(); },
});
acceptFiles(changed);
setInterval(() => tellTimes(), 30000);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  const { action } = button.dataset;
  if (action === "upload") { document.getElementById("choose").click(); return; }
  button.disabled = true;
  await act(action, [jobOf(button)], () => {
    // There is no such page any more.
    if (action === "delete" && document.querySelector("[data-page-job]")) location.assign("/");
    else changed();
  });
  button.disabled = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    menu.open = false;
  }
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    const chosen = event.target.closest("a") && menu.contains(event.target);
    if (chosen || !menu.contains(event.target)) menu.open = false;
  }
});
