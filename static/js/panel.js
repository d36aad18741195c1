// Entry of the frame-by-frame panel: puts its parts together.

import { call } from "./api.js";
import { ImageStore } from "./images.js";
import { note } from "./notes.js";
import { Objects } from "./objects.js";
import { bindAccept } from "./panel_accept.js";
import { Bars } from "./panel_bars.js";
import { Sequence } from "./panel_frames.js";
import { listenToKeys } from "./panel_keys.js";
import { SessionMasks } from "./panel_masks.js";
import { Session } from "./panel_state.js";
import { Steps } from "./panel_steps.js";
import { Strip } from "./panel_strip.js";
import { View } from "./panel_view.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";

const root = document.getElementById("panel");
const said = document.getElementById("said");
const { job } = root.dataset;
const path = `/api/jobs/${encodeURIComponent(job)}`;
const edits = "edits" in root.dataset;
const complain = (text) => note(text, { bad: true });
const say = (text) => { if (said.textContent !== text) said.textContent = said.title = text; };

// What other parts build on: `frame`, `object`, `session`, `view`, `steps`, `refresh()`, `say`,
// `complain`. Resolves once the first frame is shown.
export const panel = open().catch((error) => { complain(error.message); throw error; });
panel.catch(() => {});

async function open() {
  const frames = await call("GET", `${path}/frames`);
  const sequence = new Sequence(frames);
  const session = new Session(job, sequence);
  const stage = new Stage(document.getElementById("stage"));
  stage.setSize(sequence.width, sequence.height);
  const images = new ImageStore(job, pictureWidth(sequence), frames.version, sequence);
  const masks = new SessionMasks(job, sequence);
  const view = new View({ stage, images, masks, session, sequence });

  const act = async (action, body) => {
    try {
      await tools.settle();
      return await session.send(action, body) ?? true;
    } catch (error) { complain(error.message); return null; }
  };
  const objects = new Objects({
    root: document.getElementById("objects"), session, view, say, edits,
    act: (body) => act("objects", body), range: (body) => act("range", body),
  });
  const tools = new Tools({ stage, view, session, say, complain, choose: () => objects.wanted(), halt: () => steps.rest() });
  const limit = document.getElementById("limit");
  const steps = new Steps({
    view, session, sequence, say, complain, edits, before: () => tools.settle(),
    limit: () => Math.min(1, Math.max(0.05, limit.valueAsNumber || session.threshold)),
  });
  const go = (frame) => steps.go(frame);
  const strip = new Strip({ canvas: document.getElementById("strip"), session, sequence, go, describe: () => view.words });
  const bars = new Bars({ root, session, view, tools, steps, sequence });

  const does = {
    step: (direction) => steps.one(direction),
    hold: (direction) => steps.hold(direction),
    release: () => steps.release(),
    leap: (frames) => steps.one(Math.sign(frames), Math.abs(frames)),
    play: (direction = 1) => steps.play(direction),
    playBack: () => steps.play(-1),
    stop: () => steps.stop(),
    reach: () => steps.reach(view.frame),
    first: () => go(sequence.first),
    last: () => go(sequence.last),
    keyBefore: () => toKey(-1),
    keyAfter: () => toKey(1),
    worst: () => { const frame = strip.nextWorst(view.frame); if (frame === null) say("No frame stands out."); else go(frame); },
    field: () => bars.field.select(),
    masks: () => view.set({ masks: !view.settings.masks }),
    outlines: () => view.set({ outlines: !view.settings.outlines }),
    zoomIn: () => stage.zoomAt(1.25),
    zoomOut: () => stage.zoomAt(0.8),
    fit: () => stage.fit(),
    help: () => keys.open(),
    select: (place) => objects.nth(place),
  };
  if (edits) {
    Object.assign(does, {
      undo: async () => { if (!tools.undo()) showChanged(await act("undo")); },
      redo: async () => showChanged(await act("redo")),
      take: (name) => tools.take(name),
      sign: () => tools.turn(),
      anew: () => tools.mend(!tools.anew),
      smaller: () => tools.grow(-1),
      larger: () => tools.grow(1),
      keep: () => (tools.asks ? tools.keep() : false),
      escape: () => { if (!tools.discard()) tools.take("look"); steps.release(); },
      setKey,
      copy,
      clear: async () => {
        steps.rest();
        if (!view.mask(view.selected)) return;
        await act("edit", { frame: view.frame, masks: [{ object: view.selected, mask: null }], key: true });
      },
      accept: () => document.querySelector("[data-do='accept']").click(),
    });
    bindAccept({ session, view, complain, before: () => tools.settle() });
  }

  function toKey(direction) {
    const frame = session.keys.next(view.frame, direction);
    if (frame === null) say(`No key frame ${direction > 0 ? "after" : "before"} frame ${view.frame}.`); else go(frame);
  }

  async function setKey() {
    steps.rest();
    const key = !session.keys.has(view.frame);
    if (await act("key", { frame: view.frame, key })) say(`Frame ${view.frame} is ${key ? "a" : "no"} key frame${key ? "" : " any more"}.`);
  }

  // From the frame before, where that has masks, else from the one after.
  async function copy() {
    steps.rest();
    const { frame } = view;
    for (const from of [sequence.beyond(frame, -1), sequence.beyond(frame, 1)]) {
      if (from === null || !(await masks.get(from)).masks.length) continue;
      if (await act("copy", { frame, from, objects: null })) say(`Copied from frame ${from}.`);
      return;
    }
    say("Neither neighbour has masks to copy.");
  }

  // What was undone elsewhere is shown.
  async function showChanged(answer) {
    const [first] = String(answer?.changed ?? "").split(/[-,]/);
    if (first !== "" && sequence.holds(Number(first)) && !within(answer.changed, view.frame)) await go(Number(first));
  }

  // For what else is on the page, such as the studio's tools.
  function tell() {
    const detail = { frame: view.frame, first: sequence.first, last: sequence.last, object: view.selected, positive: tools.positive };
    document.dispatchEvent(new CustomEvent("panel:state", { detail }));
  }

  // Begun anew, here or elsewhere, from an export with other pictures or frames: so is the page.
  let began = 0;
  async function renewed() {
    const before = began;
    began = session.began;
    if (!before || before === began) return;
    const now = await call("GET", `${path}/frames`).catch(() => frames);
    if (now.version !== frames.version) location.reload();
  }

  let naming = 0; // the address follows when frames stop running by
  session.addEventListener("frames", async ({ detail }) => {
    if (masks.forget(detail.frames, detail.version, view.frame)) await view.refresh().catch((error) => complain(error.message));
    strip.soon();
  });
  session.addEventListener("state", () => { objects.render(); bars.render(); strip.redraw(); renewed(); });
  session.addEventListener("link", ({ detail }) => bars.link(detail));
  view.addEventListener("frame", () => {
    stage.describe(view.words);
    clearTimeout(naming);
    naming = setTimeout(() => history.replaceState(null, "", `#${view.frame}`), 250);
    strip.at(view.frame);
    objects.mark();
    bars.render();
    tell();
  });
  steps.addEventListener("going", () => bars.render());
  steps.addEventListener("diverged", ({ detail }) => objects.choose(detail.object, { tell: false }));
  tools.addEventListener("change", () => { bars.render(); tell(); });
  tools.addEventListener("prepare", () => {
    if (session.worker) session.send("prepare", { frame: view.frame }).catch(() => {}); // the first click says why
  });

  document.addEventListener("click", (event) => { if (event.target.closest("[data-close]")) event.target.closest("dialog").close(""); });
  document.addEventListener("studio:goto", ({ detail }) => go(detail.frame));
  document.addEventListener("studio:refresh", () => { session.read().then(() => view.refresh()).catch((error) => complain(error.message)); });

  await session.open();
  limit.value = session.threshold ?? 0.5;
  view.paint();
  await view.show(asked(sequence) ?? session.keys.next(sequence.first - sequence.step, 1) ?? sequence.nearest(sequence.first));
  addEventListener("hashchange", () => { const frame = asked(sequence); if (frame !== null && frame !== view.frame) go(frame); });
  bars.bind(does);
  const keys = listenToKeys(does, { edits, tookSpace: () => stage.tookSpace() });
  strip.read();
  root.dataset.ready = "";
  return {
    session, view, steps, tools, sequence, say, complain, act,
    get frame() { return view.frame; },
    get object() { return session.object(view.selected) ?? null; },
    refresh: () => view.refresh(),
  };
}

// The frame that the address names, as in "#57" or "?frame=57"; null where it names none.
function asked(sequence) {
  const named = location.hash.slice(1) || new URLSearchParams(location.search).get("frame");
  return /^\d+$/.test(named ?? "") ? sequence.nearest(Number(named)) : null;
}

function within(frames, frame) {
  return frames.split(",").some((part) => {
    const [from, to = from] = part.split("-").map(Number);
    return frame >= from && frame <= to;
  });
}

// No wider than the largest window shows, so that far frames come fast; zooming in shows its pixels.
function pictureWidth(sequence) {
  const seen = Math.max(screen.width, screen.height) * (globalThis.devicePixelRatio || 1);
  return seen >= sequence.width ? 0 : Math.round(seen);
}
