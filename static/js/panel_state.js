// The live session as the server has it. It goes on being true: what others change is heard of.
//
// Events: "frames" with detail {frames: text, version}: masks changed; "state": anything else did;
// "link" with detail true or false: the server answers again, or does not.

import { call } from "./api.js";
import { FrameSet } from "./panel_frames.js";

const WAIT = 20; // seconds that the server holds back an answer while nothing changes
const AGAIN = [1000, 2000, 5000]; // milliseconds between attempts while the server is away
const CALM = 400; // milliseconds between two looks at the whole state

export class Session extends EventTarget {
  constructor(job, sequence) {
    super();
    this.path = `/api/jobs/${encodeURIComponent(job)}/session`;
    this.job = job;
    this.sequence = sequence;
    this.client = Math.random().toString(36).slice(2); // tells this page from others of the same person
    this.version = 0;
    this.keys = new FrameSet(sequence);
    this.computed = new FrameSet(sequence); // known without computing, key frames too
    this.outdated = new FrameSet(sequence); // computed before the correction that they should follow
    this.busy = null; // what a worker does for this session
    this.last = null; // how the request ended that ended last
    this.reading = null;
    this.wake = null;
  }

  // Read the whole state, then go on hearing of changes.
  async open() {
    await this.read();
    this.#follow();
    this.#listen();
  }

  async read() {
    const { people, ...state } = await call("GET", this.path); // these hold this page too
    this.#take(state);
    this.dispatchEvent(new Event("state"));
  }

  object(number) { return this.objects.find((each) => each.number === number); }

  // Ask for a change; -> the answer. Its effects are heard of like those of others.
  async send(action, body = {}) {
    const answer = await call("POST", `${this.path}/${action}`, body);
    this.wake?.();
    return answer;
  }

  // Note what a step answered, ahead of hearing of it.
  known(frame) {
    this.computed.add(frame);
    this.outdated.delete(frame);
  }

  // The next end of request `id`. Throws an Error with the sentence of one that failed.
  async end(id, moved = () => {}) {
    let seen = false;
    for (;;) {
      if (this.last?.id === id) break;
      if (this.busy?.id === id) { seen = true; moved(this.busy); }
      else if (seen && !this.busy) { await this.read(); if (this.last?.id !== id) return null; break; }
      await new Promise((resolve) => this.addEventListener("state", resolve, { once: true }));
    }
    const { last } = this;
    if (last.state === "failed") throw new Error(last.error);
    await this.read(); // all that it computed is known from here on
    return last;
  }

  #take(news) {
    for (const name of ["began", "engine", "engines", "objects", "labels", "accepted", "stale", "worker", "people", "busy", "last", "threshold"]) {
      if (name in news && !(name === "objects" && !Array.isArray(news.objects))) this[name] = news[name];
    }
    if (Array.isArray(news.objects)) for (const each of this.objects) each.name ||= `${each.label} ${each.number}`;
    if ("can_undo" in news) this.canUndo = news.can_undo;
    if ("can_redo" in news) this.canRedo = news.can_redo;
    if ("key_frames" in news) this.keys.set(news.key_frames);
    if ("computed" in news) this.computed.set(news.computed);
    if ("outdated" in news) this.outdated.set(news.outdated);
    this.version = Math.max(this.version, news.version ?? 0);
  }

  // Look at the whole state soon; many wishes become one look.
  #soon() {
    this.reading ??= new Promise((resolve) => setTimeout(resolve, CALM))
      .then(() => { this.reading = null; return this.read(); })
      .catch(() => {}); // the next answer to `changes` says that the server is away
  }

  async #follow() {
    let failed = 0;
    let wait = 0; // the first answer tells who is there, and so does not wait
    for (;;) {
      await shown();
      try {
        const since = this.version;
        const news = await call("GET", `${this.path}/changes?since=${since}&wait=${failed ? 0 : wait}&client=${this.client}`);
        wait = WAIT;
        if (failed) await this.read(); // the server may be another one by now
        if (failed || news.version < since) this.#told("frames", { frames: whole(this.sequence), version: Infinity });
        else if (news.frames) this.#told("frames", { frames: news.frames, version: news.version });
        if (news.version < since) this.version = news.version;
        this.#take(news);
        this.dispatchEvent(new Event("state"));
        if (news.objects === true || (news.version > since && !("computed" in news))) this.#soon();
        if (failed) { failed = 0; this.#told("link", true); }
      } catch (error) {
        if (failed === 0) this.#told("link", false);
        await this.#pause(AGAIN[Math.min(failed, AGAIN.length - 1)]);
        failed += 1;
      }
    }
  }

  // Events are hints: they end a pause, or let the state be read that no version tells of.
  #listen() {
    addEventListener("online", () => this.wake?.());
    if (typeof globalThis.io !== "function") { setInterval(() => { if (!document.hidden) this.#soon(); }, 10000); return; }
    const socket = globalThis.io({ reconnectionDelayMax: 5000 });
    socket.on("connect", () => { socket.emit("watch", { job: this.job }); this.wake?.(); this.#soon(); });
    socket.on("session", () => this.wake?.());
    socket.on("workers", () => this.#soon());
    socket.on("job", () => this.#soon());
  }

  #told(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  #pause(milliseconds) {
    return new Promise((resolve) => { this.wake = resolve; setTimeout(resolve, milliseconds); })
      .then(() => { this.wake = null; });
  }
}

function whole(sequence) { return `${sequence.first}-${sequence.last}`; }

// A page that nobody sees holds no connection: a browser has only six for one server.
function shown() {
  if (!document.hidden) return undefined;
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}
