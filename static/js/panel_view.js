// The frame that is looked at: its picture and its masks on the stage, and what is said of it.

import { coloursOf } from "./colours.js";

// Events: "frame" after another frame came to be shown, or the same with other masks.
export class View extends EventTarget {
  constructor({ stage, images, masks, session, sequence }) {
    super();
    Object.assign(this, { stage, images, masks, session, sequence });
    this.frame = sequence.first;
    this.entry = { frame: this.frame, key: false, masks: [] };
    this.settings = { opacity: 0.5, outlines: true, masks: true };
    this.hidden = new Set(); // objects
    this.veiled = new Set(); // objects that a draft shows in their stead
    this.own = new Map(); // object -> colour chosen in this browser
    this.selected = 0;
    this.colours = new Map();
    this.ticket = 0;
  }

  // Show a frame; resolves once it is painted, to false where a later call overtook this one.
  async show(frame) {
    const ticket = ++this.ticket;
    const direction = frame < this.frame ? -1 : 1;
    const [image, entry] = await Promise.all([
      this.images.get(frame).catch((error) => error),
      this.masks.get(frame),
    ]);
    if (ticket !== this.ticket) return false;
    this.images.prefetch(frame, direction);
    this.masks.prefetch(frame, direction);
    this.frame = frame;
    this.entry = entry;
    this.trouble = image instanceof Error ? image.message : "";
    this.stage.show(image instanceof Error ? null : image, entry);
    this.#tell();
    return true;
  }

  // Whatever is on its way is not shown any more.
  stay() { this.ticket += 1; }

  // Show the same frame with the masks that hold by now.
  async refresh() { return this.show(this.frame); }

  mask(object) { return this.entry.masks.find((mask) => mask.object === object) ?? null; }

  // What was computed and is most in doubt on a frame: {score, object, why} or null.
  worst(entry = this.entry) {
    if (entry.key) return null;
    return entry.masks.reduce(
      (most, mask) => ((mask.score ?? -1) > (most?.score ?? -1) ? mask : most), null,
    );
  }

  paint() {
    this.colours = coloursOf(this.session.objects ?? []);
    for (const [object, colour] of this.own) this.colours.set(object, colour);
    this.stage.look({
      opacity: this.settings.opacity,
      outlines: this.settings.outlines,
      masks: this.settings.masks,
      hidden: new Set([...this.hidden, ...this.veiled]),
      colours: this.colours,
      selected: this.selected,
    });
  }

  // Set some of `opacity`, `outlines` and `masks`.
  set(settings) {
    Object.assign(this.settings, settings);
    this.paint();
  }

  veil(objects) {
    this.veiled = new Set(objects);
    this.paint();
  }

  #tell() {
    const { session, entry } = this;
    const kind = this.kind();
    const named = entry.masks.map((mask) => {
      const name = session.object(mask.object)?.name ?? mask.label;
      return mask.score == null || entry.key ? name : `${name} (divergence ${mask.score.toFixed(2)})`;
    });
    this.words = `Frame ${this.frame}, ${kind}: ${named.join(", ") || "no masks"}`;
    this.dispatchEvent(new Event("frame"));
  }

  kind(frame = this.frame) {
    if (this.session.keys.has(frame)) return "key frame";
    if (this.session.outdated.has(frame)) return "computed before the last correction";
    if (this.session.computed.has(frame)) return "computed";
    return "not computed yet";
  }
}
