// Uploads by button or by dropping files anywhere: one after the other, each with its progress.
//
// A file is sent in pieces (tus, see /api/uploads). When a connection breaks or the server is away,
// the page asks how far the upload came and goes on from there, after pauses that grow.

import { toSignIn } from "./api.js";
import { note } from "./notes.js";
import { uploadRow } from "./upload_row.js";

const FIRST_PIECE = 8 * 2 ** 20; // bytes
const LARGEST_PIECE = 64 * 2 ** 20;
const QUICK = 4000; // ms; after a piece that took less the next one is twice as large
const PAUSES = [1, 2, 4, 8, 15, 30]; // seconds; the last one from then on

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
  const upload = { file, ...uploadRow(file, list), changed, place: "", request: null, given_up: false, wake: null };
  upload.stop.addEventListener("click", () => cancel(upload));
  return upload;
}

function cancel(upload) {
  const place = waiting.indexOf(upload);
  if (place >= 0) waiting.splice(place, 1);
  upload.line.remove();
  upload.given_up = true;
  upload.request?.abort();
  upload.wake?.();
}

async function next() {
  if (sending || waiting.length === 0) return;
  sending = waiting.shift();
  try {
    await send(sending);
  } catch (error) {
    if (sending.given_up) forget(sending);
    else fail(sending, error.message);
  }
  const { changed } = sending;
  sending = null;
  changed();
  next();
}

async function send(upload) {
  const { file } = upload;
  let piece = FIRST_PIECE, failures = 0, offset = 0, job = "";
  while (!job) {
    try {
      if (!upload.place) await create(upload);
      else if (failures) ({ offset, job } = await look(upload));
      if (job) break;
      const began = performance.now();
      ({ offset, job } = await sendPiece(upload, offset, file.slice(offset, offset + piece)));
      if (performance.now() - began < QUICK) piece = Math.min(2 * piece, LARGEST_PIECE);
      failures = 0;
    } catch (error) {
      if (upload.given_up || !error.passes) throw error;
      await pause(upload, error.message, PAUSES[Math.min(failures, PAUSES.length - 1)]);
      failures += 1;
      piece = FIRST_PIECE;
    }
  }
  upload.line.remove();
  const { job: made } = (await ask(upload, "GET", `/api/jobs/${encodeURIComponent(job)}`)).answer;
  if (made.state === "failed") note(`${file.name} cannot be tracked: its card under Failed says why.`, { bad: true });
  else note(`${file.name} is ready.`);
}

async function create(upload) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(upload.file.name)));
  const { headers } = await ask(upload, "POST", "/api/uploads", { "Upload-Length": upload.file.size, "Upload-Metadata": `filename ${name}` });
  upload.place = headers("Location");
}

async function look(upload) {
  const { answer } = await ask(upload, "GET", upload.place);
  if (answer.error) throw new Error(answer.error);
  return answer;
}

async function sendPiece(upload, offset, blob) {
  const { headers } = await ask(upload, "PATCH", upload.place, { "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" }, blob, (loaded) => show(upload, offset + loaded));
  return { offset: Number(headers("Upload-Offset")), job: headers("Upload-Job") || "" };
}

function show(upload, sent) {
  const { file, bar, state } = upload;
  const whole = sent >= file.size;
  if (whole) bar.removeAttribute("value");
  else bar.value = sent / file.size;
  state.textContent = whole ? "is being checked" : `${Math.floor((100 * sent) / file.size)} %`;
}

// One request. An Error whose `passes` is true may be over in a moment: the connection, a server
// that is away or whose disk is full, or our own earlier request, which it still holds on to.
function ask(upload, method, path, headers = {}, body = null, progress = null) {
  return new Promise((resolve, reject) => {
    const refuse = (sentence, passes) => reject(Object.assign(new Error(sentence), { passes }));
    const request = new XMLHttpRequest();
    upload.request = request;
    request.open(method, path);
    request.setRequestHeader("Tus-Resumable", "1.0.0");
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "json";
    if (progress) request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => {
      const { status, response } = request;
      if (status === 401) toSignIn();
      if (status < 300) resolve({ answer: response, headers: (name) => request.getResponseHeader(name) });
      else refuse(response?.error || "The server did not take the file.", status >= 500 || [408, 409, 423, 429].includes(status));
    });
    request.addEventListener("error", () => refuse("The connection broke.", true));
    request.addEventListener("abort", () => refuse("It was given up.", false));
    request.send(body);
  });
}

function pause(upload, sentence, seconds) {
  upload.state.textContent = `${sentence} Goes on in ${seconds} s.`;
  return new Promise((resolve) => {
    upload.wake = resolve;
    setTimeout(resolve, 1000 * seconds);
  }).then(() => {
    upload.wake = null;
    if (upload.given_up) throw new Error("It was given up.");
  });
}

// The server would forget it by itself after a day.
function forget(upload) {
  if (upload.place) ask(upload, "DELETE", upload.place).catch(() => {});
}

function fail(upload, sentence) {
  upload.bar.remove();
  upload.state.className = "reason";
  upload.state.textContent = sentence;
  upload.stop.textContent = "Dismiss";
}
