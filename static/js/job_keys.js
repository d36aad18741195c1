// The keys of the job page.

import { Keys } from "./keys.js";

const FAR = 10; // frames

export function bindKeys(page) {
  const { player, stage } = page;
  const go = (run) => () => { player.pause(); run(); };
  // A held key shows every frame: it goes on once the one before is on the screen.
  const step = (frames) => (event) => {
    if (event.repeat && player.shown !== player.wanted) return;
    player.pause();
    player.step(frames);
  };
  return new Keys([
    { title: "Frames", keys: [
      { on: ["ArrowLeft"], shown: "←", does: "one frame back", run: step(-1) },
      { on: ["ArrowRight"], shown: "→", does: "one frame forward", run: step(1) },
      { on: ["Shift+ArrowLeft"], shown: ["Shift", "←"], does: "ten frames back", run: step(-FAR) },
      { on: ["Shift+ArrowRight"], shown: ["Shift", "→"], does: "ten frames forward", run: step(FAR) },
      { on: [" "], shown: "Space", does: "play, pause", run: () => player.toggle(), up: true, unless: () => stage.tookSpace() },
      { on: ["Home"], shown: "Home", does: "first frame", run: go(() => player.goto(player.span.first)) },
      { on: ["End"], shown: "End", does: "last frame", run: go(() => player.goto(player.span.last)) },
      { on: ["["], shown: "[", does: "key frame before", run: go(() => page.key(-1)) },
      { on: ["]"], shown: "]", does: "key frame after", run: go(() => page.key(1)) },
      { on: ["n"], shown: "N", does: "next frame worth correcting", run: () => page.nextWorst() },
      { on: ["g"], shown: "G", does: "type a frame, then Enter", run: () => page.field.focus() },
    ] },
    { title: "Picture", keys: [
      { on: ["o"], shown: "O", does: "outlines", run: () => page.looks.toggle("outlines") },
      { on: ["h"], shown: "H", does: "hide or show the masks", run: () => page.looks.toggle("masks") },
      { on: ["+", "="], shown: "+", does: "larger", run: () => stage.zoomAt(1.5) },
      { on: ["-"], shown: "-", does: "smaller", run: () => stage.zoomAt(1 / 1.5) },
      { on: ["0"], shown: "0", does: "fit the window", run: () => stage.fit() },
      { shown: "Wheel", does: "larger, smaller at the pointer" },
      { shown: "Drag", does: "move a magnified picture" },
      { on: ["Escape"], shown: "Esc", does: "clear the chosen range", run: () => page.ranges.clear() },
      { on: ["?"], shown: "?", does: "this list", run: () => page.keys.open() },
    ] },
  ]);
}
