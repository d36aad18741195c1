// The keys of the panel.

import { Keys } from "./keys.js";

const TOOLS = { p: "points", b: "box", r: "brush", e: "eraser", l: "lasso", v: "look" };

// `does`: functions by name, as panel.js has them. `edits`: whether this person may correct.
// `tookSpace()`: whether the space bar moved the picture and therefore does not play.
export function listenToKeys(does, { edits, tookSpace }) {
  const ways = (one, other) => ({ key }) => (key === one ? does[BY_KEY[one]] : does[BY_KEY[other]])();
  const arrow = (event) => {
    const direction = event.key === "ArrowRight" ? 1 : -1;
    if (event.shiftKey) does.leap(10 * direction);
    else if (event.repeat) does.hold(direction);
    else does.step(direction);
  };
  const frames = {
    title: "Frames",
    keys: [
      { on: ["ArrowLeft", "ArrowRight"], shown: ["←", "→"], does: "back, forward; held: run", run: arrow },
      { on: ["Shift+ArrowLeft", "Shift+ArrowRight"], shown: ["Shift", "←", "→"], does: "look 10 frames away", run: arrow },
      { on: [" "], shown: "Space", does: "play until divergence, or stop", run: () => does.play(1), up: true, unless: tookSpace },
      { on: ["Shift+ "], shown: ["Shift", "Space"], does: "play backward", run: () => does.play(-1), up: true, unless: tookSpace },
      { on: ["g"], shown: "G", does: "type a frame, then Enter", run: does.field },
      { on: ["[", "]"], shown: ["[", "]"], does: "key frame before, after", run: ways("[", "]") },
      { on: ["n"], shown: "N", does: "next frame worth correcting", run: does.worst },
      { on: ["Home", "End"], shown: ["Home", "End"], does: "first, last frame", run: ways("Home", "End") },
    ],
  };
  const correcting = {
    title: "Correcting",
    keys: [
      { on: ["p", "b"], shown: ["P", "B"], does: "points, box", run: ({ key }) => does.take(TOOLS[key]) },
      { on: ["r", "e", "l", "v"], shown: ["R", "E", "L"], does: "brush, eraser, lasso; V: none", run: ({ key }) => does.take(TOOLS[key.toLowerCase()]) },
      { on: ["x"], shown: "X", does: "add or take away (once: Alt or right button)", run: does.sign },
      { on: ["m"], shown: "M", does: "points: anew, or mend what is there", run: does.anew },
      { on: [",", "."], shown: [",", "."], does: "smaller, larger brush", run: ways(",", ".") },
      { on: ["Enter"], shown: "Enter", does: "keep what is proposed", run: does.keep },
      { on: ["Escape"], shown: "Esc", does: "throw it away", run: does.escape },
      { on: [..."123456789"], shown: ["1", "…", "9"], does: "select an object", run: ({ key }) => does.select(Number(key)) },
      { on: ["k"], shown: "K", does: "key frame, or none any more", run: does.setKey },
      { on: ["c"], shown: "C", does: "copy from the frame before, or after", run: does.copy },
      { on: ["Delete"], shown: "Del", does: "take the object off this frame", run: does.clear },
      { on: ["Control+z", "Control+Shift+z"], shown: ["Ctrl", "Z"], does: "undo; with Shift: redo", run: ({ shiftKey }) => (shiftKey ? does.redo() : does.undo()) },
      { on: ["a"], shown: "A", does: "accept and export", run: does.accept },
    ],
  };
  const looking = {
    title: "Looking",
    keys: [
      { on: ["h"], shown: "H", does: "raw image", run: does.masks },
      { on: ["o"], shown: "O", does: "outlines", run: does.outlines },
      { on: ["+", "="], shown: "+", does: "larger", run: does.zoomIn },
      { on: ["-"], shown: "−", does: "smaller", run: does.zoomOut },
      { on: ["0"], shown: "0", does: "fit", run: does.fit },
      { shown: "?", does: "this list" },
    ],
  };
  document.addEventListener("keyup", ({ key }) => { if (key === "ArrowLeft" || key === "ArrowRight") does.release(); });
  addEventListener("blur", () => does.release());
  return new Keys(edits ? [frames, correcting, looking] : [frames, looking]);
}

const BY_KEY = { "[": "keyBefore", "]": "keyAfter", Home: "first", End: "last", ",": "smaller", ".": "larger" };
