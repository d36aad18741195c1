// Uploads by button or by dropping files anywhere: one after the other, each with its progress.

import { toSignIn } from "./api.js";
import { note } from "./notes.js";

const list = document.getElementById("uploads");
const waiting = [];
let sending = null;

export function acceptFiles(changed) {
  const choose = document.getElementById("choose");
  const files = document.getElementById("files");
  const drop = document.getElementById("drop");
  if (!choose) return;
  choose.addEventListener("click", () => files.click());
  files.addEventListener("change", () => { take(files.files, changed); files.value = ""; });

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
    take(event.dataTransfer.files, changed);
  });
  addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
}

function take(files, changed) {
  for (const file of files) {
    if (!/\.(zip|xml)$/i.test(file.name)) {
      note(`${file.name} is neither a .zip nor an .xml file: export from CVAT as "CVAT for video 1.1".`, { bad: true });
      continue;
    }
    waiting.push(row(file, changed));
  }
  next();
}

function row(file, changed) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = file.name;
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  const state = document.createElement("span");
  state.className = "muted";
  state.textContent = "waits";
  const stop = document.createElement("button");
  stop.type = "button";
  stop.className = "quiet";
  stop.textContent = "Cancel";
  line.append(name, bar, state, stop);
  list.append(line);
  const upload = { file, line, bar, state, stop, changed, request: null };
  stop.addEventListener("click", () => cancel(upload));
  return upload;
}

function cancel(upload) {
  const place = waiting.indexOf(upload);
  if (place >= 0) waiting.splice(place, 1);
  upload.line.remove();
  upload.request?.abort();
}

function next() {
  if (sending || waiting.length === 0) return;
  sending = waiting.shift();
  send(sending);
}

function send(upload) {
  const request = new XMLHttpRequest();
  upload.request = request;
  request.open("POST", `/api/jobs?name=${encodeURIComponent(upload.file.name)}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    upload.bar.value = event.total ? event.loaded / event.total : 0;
    const whole = event.loaded >= event.total;
    upload.state.textContent = whole ? "is being checked" : `${Math.floor(100 * upload.bar.value)} %`;
    if (whole) upload.bar.removeAttribute("value");
  });
  const over = () => { sending = null; upload.changed(); next(); };
  request.addEventListener("load", () => {
    if (request.status === 401) toSignIn();
    const answer = request.response ?? {};
    if (request.status !== 201) fail(upload, answer.error || "The server did not take the file.");
    else if (answer.state === "failed") {
      upload.line.remove(); // the card says why
      note(`${upload.file.name} cannot be tracked: its card under Failed says why.`, { bad: true });
    }
    else { upload.line.remove(); note(`${upload.file.name} is ready.`); }
    over();
  });
  request.addEventListener("error", () => { fail(upload, "The connection broke: upload it again."); over(); });
  request.addEventListener("abort", over);
  request.send(upload.file);
}

function fail(upload, sentence) {
  upload.bar.remove();
  upload.state.className = "reason";
  upload.state.textContent = sentence;
  upload.stop.textContent = "Dismiss";
}
