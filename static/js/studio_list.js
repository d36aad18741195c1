// The page of sequences: opening one, bringing one, and how far their reading is.

import { call, toSignIn } from "./api.js";
import { refresh } from "./main.js";
import { note } from "./notes.js";
import { uploadRow } from "./upload_row.js";

const LOOK_EVERY = 600; // ms, while something is being read
const FITTING = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|ogv|wmv|zip)$/i;

const list = document.getElementById("sequences");
const uploads = document.getElementById("uploads");
const address = (name, rest = "") => `/api/sequences/${encodeURIComponent(name)}${rest}`;
const waiting = [];
let sending = null;
let wanted = ""; // the sequence to go to once it is read

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-open], button[data-forget]");
  if (button?.dataset.open) open(button, button.dataset.open);
  else if (button?.dataset.forget) forget(button, button.dataset.forget);
});

// Opens a sequence and goes to it once it is read, unless another one was opened since.
async function open(button, name) {
  button.disabled = true;
  wanted = name;
  try {
    let sequence = await call("POST", address(name, "/open"));
    while (sequence.state === "making" && wanted === name) {
      await refresh.now();
      await new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY); });
      sequence = await call("GET", address(name));
    }
    if (sequence.state === "ready" && wanted === name) {
      location.assign(`/jobs/${encodeURIComponent(sequence.job)}/panel`);
      return;
    }
    await refresh.now();
  } catch (error) {
    note(error.message, { bad: true });
  }
  button.disabled = false;
}

async function forget(button, name) {
  button.disabled = true;
  try {
    await call("DELETE", address(name));
    refresh.now();
  } catch (error) {
    note(error.message, { bad: true });
    button.disabled = false;
  }
}

// Others may have opened one, and what was uploaded is read by itself.
async function look() {
  if (list.querySelector("[data-state='making']") && !document.hidden) await refresh.now();
  setTimeout(look, LOOK_EVERY);
}
setTimeout(look, LOOK_EVERY);

const search = document.getElementById("search");
let timer = 0;
search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 250); });
search.form.addEventListener("submit", (event) => { event.preventDefault(); find(); });

function find() {
  const where = new URL(location.href);
  const text = search.value.trim();
  if (text) where.searchParams.set("search", text);
  else where.searchParams.delete("search");
  history.replaceState(null, "", where);
  refresh.now();
}

// -- bringing files ------------------------------------------------------------------------------

const pick = document.getElementById("pick");
const picked = document.getElementById("picked");
const drop = document.getElementById("drop");
if (pick) {
  pick.addEventListener("click", () => picked.click());
  picked.addEventListener("change", () => { take(picked.files); picked.value = ""; });
  let depth = 0;
  const show = (on) => { drop.hidden = !on; };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (carriesFiles(event)) { event.preventDefault(); depth += 1; show(true); } });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); show(depth > 0); });
  addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    take(event.dataTransfer.files);
  });
  addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea, dialog *");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "u") pick?.click();
  if (event.key === "/") { event.preventDefault(); search.focus(); }
});

function take(files) {
  for (const file of files) {
    if (FITTING.test(file.name)) waiting.push(row(file));
    else note(`${file.name} is neither a video nor a zip of images: choose a file such as clip.mp4 or frames.zip.`, { bad: true });
  }
  next();
}

function row(file) {
  const upload = { file, ...uploadRow(file, uploads), request: null };
  upload.stop.addEventListener("click", () => {
    const place = waiting.indexOf(upload);
    if (place >= 0) waiting.splice(place, 1);
    upload.line.remove();
    upload.request?.abort();
  });
  return upload;
}

async function next() {
  if (sending || waiting.length === 0) return;
  sending = waiting.shift();
  try {
    await send(sending);
    sending.line.remove();
    await refresh.now();
  } catch (error) {
    fail(sending, error.message);
  }
  sending = null;
  next();
}

function send(upload) {
  const { file, bar, state } = upload;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    upload.request = request;
    request.open("POST", `/api/sequences?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded }) => {
      bar.value = loaded / Math.max(1, file.size);
      state.textContent = `${Math.floor((100 * loaded) / Math.max(1, file.size))} %`;
    });
    request.upload.addEventListener("load", () => { bar.removeAttribute("value"); state.textContent = "is being taken"; });
    request.addEventListener("load", () => {
      if (request.status === 401) toSignIn();
      if (request.status < 300) resolve();
      else reject(new Error(request.response?.error || "The server did not take the file."));
    });
    request.addEventListener("error", () => reject(new Error("The connection broke: choose the file again.")));
    request.addEventListener("abort", () => reject(new Error("")));
    request.send(file);
  });
}

function fail(upload, sentence) {
  if (!sentence) return; // it was cancelled
  upload.bar.remove();
  upload.state.className = "reason";
  upload.state.textContent = sentence;
  upload.stop.textContent = "Dismiss";
}
