// Going from frame to frame: a step, as long as a key is held, or until divergence passes a limit.

import { scoreText } from "./panel_words.js";

const PACE = 40; // milliseconds that a frame is seen at least while playing

export class Steps extends EventTarget {
  // `say(text)`: the line that tells what happens. `before()`: resolves when what a person drew is
  // saved. `edits`: whether this person may have frames computed. Events: "going" when playing begins
  // or ends, "diverged" with the mask that stopped it.
  constructor({ view, session, sequence, say, complain, before, limit, edits }) {
    super();
    Object.assign(this, { view, session, sequence, say, complain, before, limit, edits });
    this.busy = false;
    this.playing = false;
    this.held = 0;
    this.turn = 0; // rises when what goes on shall move the picture no more
  }

  // Whether a worker must compute `frame` before it can be shown, coming from its neighbour.
  needs(frame, direction) {
    const { keys, computed, outdated } = this.session;
    if (!this.edits || keys.has(frame)) return false;
    return !computed.has(frame) || (direction > 0 && outdated.has(frame));
  }

  // Show any frame, as it is.
  async go(frame) {
    this.#halt();
    await this.before();
    try {
      await this.view.show(this.sequence.nearest(frame));
    } catch (error) { this.complain(error.message); }
  }

  // One frame on or back; -> whether there was one. A step that is asked for meanwhile is let fall.
  async one(direction, frames = 1) {
    if (this.busy || this.playing) return false;
    this.busy = true;
    try {
      await this.before();
      return await this.#step(direction, frames);
    } catch (error) {
      this.complain(error.message);
      return false;
    } finally { this.busy = false; }
  }

  // Step for as long as a key or button is held.
  async hold(direction) {
    if (this.held) return;
    this.held = direction;
    while (this.held === direction && await this.one(direction)) await painted();
    if (this.held === direction) this.held = 0;
  }

  release() { this.held = 0; }

  // Go on until divergence reaches the limit, the sequence ends, or it is stopped.
  async play(direction = 1) {
    if (this.playing) { this.stop(); return; }
    this.#going(direction);
    try {
      await this.before();
      while (this.playing && await this.#onward(direction));
    } catch (error) { this.complain(error.message); }
    this.#going(0);
  }

  // Let the frame that is seen stay, since somebody works on it.
  rest() {
    if (this.playing) this.stop(); else this.#halt();
    this.view.stay();
  }

  async stop() {
    const computing = this.session.busy?.kind === "step";
    this.#halt();
    this.say(`Stopped at frame ${this.view.frame}.`);
    if (computing) {
      try { await this.session.send("stop"); } catch (error) { this.complain(error.message); }
    }
  }

  // Let a worker compute from the nearest known frame up to the one that is looked at.
  async reach(frame) {
    const { session, sequence } = this;
    const from = session.computed.next(frame, -1) ?? session.computed.next(frame, 1);
    if (from === null) { this.complain("Draw a mask on some frame first: steps start from it."); return; }
    this.#going(Math.sign(frame - from));
    try {
      await this.before();
      if (this.#worker()) await this.#compute(from, sequence.nearest(frame), { limit: null });
    } catch (error) { this.complain(error.message); }
    this.#going(0);
  }

  async #step(direction, frames) {
    const { sequence, session, view, turn } = this;
    const far = sequence.nearest(view.frame + direction * frames * sequence.step);
    const to = frames === 1 ? sequence.beyond(view.frame, direction) ?? view.frame : far;
    if (to === view.frame) { this.say(`Frame ${to} is the ${direction > 0 ? "last" : "first"} one.`); return false; }
    // A leap looks; only a step computes.
    if (frames === 1 && this.needs(to, direction)) {
      if (!this.#worker()) return false;
      const slow = setTimeout(() => this.say(`Computing frame ${to}…`), 300);
      let answer;
      try {
        answer = await session.send("step", { from: view.frame, to, wait: true });
      } finally { clearTimeout(slow); }
      if (answer.frame) { view.masks.put(answer.frame); session.known(answer.frame.frame); }
    }
    return turn === this.turn && this.#show(to);
  }

  async #onward(direction) {
    const { sequence, view } = this;
    const next = sequence.beyond(view.frame, direction);
    if (next === null) { this.say(`Frame ${view.frame} is the ${direction > 0 ? "last" : "first"} one.`); return false; }
    if (this.needs(next, direction)) {
      if (!this.#worker()) return false;
      let to = next;
      for (let f = next; f !== null && this.needs(f, direction); f = sequence.beyond(f, direction)) to = f;
      return this.#compute(view.frame, to, { limit: this.limit() });
    }
    const begun = performance.now();
    if (!await this.#show(next)) return false;
    const worst = view.worst();
    if (worst && worst.score >= this.limit()) { this.#diverged(next, worst); return false; }
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, PACE - performance.now() + begun)));
    return true;
  }

  // Let a worker go a long way and show its frames as they come; -> whether it came to the end.
  async #compute(from, to, { limit }) {
    const { session } = this;
    const body = { from, to, ...(limit !== null && { stop_at: limit }) };
    const { id } = await session.send("step", body);
    let shown = Promise.resolve();
    let seen = null;
    const end = await session.end(id, ({ frame }) => {
      if (frame == null || frame === from || frame === seen || !this.playing) return;
      seen = frame;
      session.known(frame);
      // Frames that come faster than they are painted are passed over.
      shown = shown.then(() => (seen === frame ? this.#show(frame) : null)).catch(() => {});
    });
    await shown;
    if (!this.playing) return false;
    if (end?.stopped) { await this.#show(end.frame); this.#diverged(end.frame, end.stopped); return false; }
    if (end?.state === "stopped") { await this.#show(end.frame ?? this.view.frame); return false; }
    await this.#show(to);
    return true;
  }

  async #show(frame) {
    const done = await this.view.show(frame);
    if (done) this.say("");
    return done;
  }

  #diverged(frame, mask) {
    const name = this.session.object(mask.object)?.name ?? mask.label;
    this.say(`Stopped at frame ${frame}: ${scoreText(name, mask)}.`);
    this.dispatchEvent(new CustomEvent("diverged", { detail: mask }));
  }

  #worker() {
    if (this.session.worker) return true;
    this.complain("No worker is running: start one with ./start_worker.sh NAME.");
    return false;
  }

  #halt() {
    this.turn += 1;
    this.held = 0;
    if (this.playing) this.#going(0);
  }

  #going(direction) {
    this.playing = direction !== 0;
    this.dispatchEvent(new CustomEvent("going", { detail: direction }));
  }
}

function painted() { return new Promise((resolve) => requestAnimationFrame(resolve)); }
