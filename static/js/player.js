// Going through the frames of a job: one place, two layers at most, playing, and never a frame
// shown that is older than the one that was asked for.

import { ImageStore } from "./images.js";
import { framesOf, MaskStore } from "./masks.js";

const WIDTHS = [640, 960, 1280, 1920]; // of pictures, in pixels; the server keeps what it scaled
const ABOUT = 0.9; // of the stage: so much magnified a picture is as good, and comes much sooner
const RATE = 25; // frames a second while playing
const PATIENCE = 150; // ms that a picture waits for its masks
const SHARPEN = 250; // ms of rest after which a magnified picture is fetched as it is

// Events: "wanted" (another frame was asked for), "shown" (a frame is on the stage), "playing",
// "trouble" (with a sentence as detail, or "").
export class Player extends EventTarget {
  // `frames`: answer of GET frames.
  constructor(jobId, frames, stage) {
    super();
    this.jobId = jobId;
    this.stage = stage;
    this.frames = frames;
    const { first, last, step, width, height, missing, version } = frames;
    this.span = { first, last, step };
    this.missing = new Set(framesOf(missing));
    this.images = new ImageStore(jobId, pictureWidth(stage, width), version, { ...this.span, missing: this.missing });
    this.whole = null; // pictures as they are, for looking closely
    this.layers = [null, null];
    this.wanted = first;
    this.shown = null; // the frame on the stage
    this.entry = null; // and its masks
    this.direction = 1;
    this.playing = false;
    this.settling = null;
    this.hurry = () => {}; // another frame is wanted than the one whose masks are waited for
    this.isStale = true; // the stage shows other layers than are chosen
    stage.setSize(width, height);
    stage.addEventListener("view", () => this.#sharpenSoon());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.pause(); });
  }

  get count() { return Math.floor((this.span.last - this.span.first) / this.span.step) + 1; }

  // Show the masks of `name`; `other` is compared with it, null for none.
  setLayers(name, other = null) {
    const named = [name, other];
    this.layers = named.map((each, index) => {
      if (!each) return null;
      const present = this.layers.find((store) => store?.layer === each);
      return present ?? (named.indexOf(each) < index ? null : new MaskStore(this.jobId, each, this.span));
    });
    if (other === name) this.layers[1] = this.layers[0];
    return this.#again();
  }

  // Masks of the layer changed on these frames: numbers, a text, or undefined for all.
  forget(layer, frames) {
    for (const store of new Set(this.layers)) if (store?.layer === layer) store.invalidate(frames);
    return this.#again();
  }

  #again() {
    this.isStale = true;
    this.hurry();
    return this.#settle();
  }

  // Resolves once this frame, or one that was asked for later, is shown.
  goto(frame) {
    const { first, last, step } = this.span;
    const within = Math.min(last, Math.max(first, frame));
    const wanted = Math.min(first + Math.round((within - first) / step) * step, first + (this.count - 1) * step);
    if (wanted !== this.wanted) {
      this.direction = Math.sign(wanted - this.wanted);
      this.wanted = wanted;
      this.dispatchEvent(new Event("wanted"));
      this.hurry();
    }
    return this.#settle();
  }

  step(frames) { return this.goto(this.wanted + frames * this.span.step); }

  async play() {
    if (this.playing) return;
    const { first, last, step } = this.span;
    if (this.wanted + step > last) await this.goto(first);
    this.playing = true;
    this.dispatchEvent(new Event("playing"));
    let due = performance.now();
    while (this.playing && this.wanted + step <= last) {
      await this.step(1);
      const now = performance.now();
      due = Math.max(due + 1000 / RATE, now);
      if (due > now) await pause(due - now);
    }
    this.pause();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.dispatchEvent(new Event("playing"));
    this.#sharpenSoon();
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  #settle() {
    this.settling ??= this.#show().finally(() => { this.settling = null; });
    return this.settling;
  }

  // Until what is shown is what is wanted. Frames that arrive on the way are shown too.
  async #show() {
    while (this.shown !== this.wanted || this.isStale) {
      const frame = this.wanted;
      this.isStale = false;
      const [masks, other] = this.layers.map((store) => (store ? store.get(frame) : Promise.resolve(null)));
      masks.catch(() => {}); // told below
      other.catch(() => {});
      let trouble = "";
      const tell = (error) => { trouble ||= error.message; return null; };
      const bitmap = await this.images.get(frame).catch(tell);
      const entries = Promise.all([masks.catch(tell), other.catch(tell)]);
      if (!(await Promise.race([entries, pause(PATIENCE)]))) {
        // Masks that take long, such as when a layer is read for the first time, hold nobody up.
        if (this.shown !== frame) this.#put(frame, bitmap, null, null);
        this.#tell("Reading the masks…");
        await Promise.race([entries, new Promise((resolve) => { this.hurry = resolve; })]);
        if (this.wanted !== frame || this.isStale) continue;
      }
      const [entry, compared] = await entries;
      this.#put(frame, bitmap, entry, compared);
      if (this.missing.has(frame)) trouble ||= `Frame ${frame} has no image in this export.`;
      this.#tell(trouble);
      this.images.prefetch(frame, this.direction);
      for (const store of this.layers) store?.prefetch(frame, this.direction);
      // What is on its way to the screen is drawn before the next one, so that each frame is seen.
      if (this.playing) await this.stage.drawn();
    }
    this.#sharpenSoon();
  }

  #put(frame, bitmap, entry, compared) {
    this.stage.show(bitmap, entry);
    this.stage.compare({ entry: compared });
    this.shown = frame;
    this.entry = entry;
    this.dispatchEvent(new Event("shown"));
  }

  #tell(sentence) { this.dispatchEvent(new CustomEvent("trouble", { detail: sentence })); }

  #sharpenSoon() {
    clearTimeout(this.sharpening);
    if (!this.playing) this.sharpening = setTimeout(() => this.#sharpen(), SHARPEN);
  }

  // Fetch the picture as it is where the one shown has fewer pixels than the screen.
  async #sharpen() {
    const frame = this.shown;
    const { stage } = this;
    const isFine = !stage.hasPicture || stage.view.scale * this.frames.width <= 1.15 * stage.picture.width;
    if (frame === null || isFine || stage.picture.width >= this.frames.width) return;
    this.whole ??= new ImageStore(this.jobId, 0, this.frames.version, { ...this.span, most: 0 });
    const bitmap = await this.whole.get(frame).catch(() => null); // the smaller one stays
    if (bitmap && frame === this.shown && frame === this.wanted) stage.show(bitmap, this.entry);
  }
}

function pause(ms) { return new Promise((resolve) => setTimeout(resolve, ms)); }

// The least of the usual widths that about fills the stage; 0 where the pictures are no wider.
function pictureWidth(stage, width) {
  const wanted = ABOUT * stage.host.clientWidth * Math.min(2, stage.ratio);
  const found = WIDTHS.find((each) => each >= wanted) ?? WIDTHS.at(-1);
  return width > 0 && width <= found ? 0 : found;
}
