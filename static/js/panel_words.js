// What the panel says of frames, people and engines.

const NAMELESS = "local";
const WHY = {
  unsure: "the engine is unsure of it",
  strayed: "it was followed for long with doubts",
  distance: "it is far from a key frame",
  faded: "it hardly differs from its surroundings any more",
  unlike: "its colours are not those of the key frame",
  foreign: "the mask holds colours of the surroundings",
  resized: "its size is not that of the key frame",
  split: "the mask is in pieces",
  bent: "its shape jumps",
  border: "it touches the border of the picture",
  gone: "it has vanished",
  apart: "the two passes disagree",
  missed: "the pass did not arrive at the next key frame's mask",
};

// "car has drifted (0.62): its shape or size jumped".
export function scoreText(name, { score, why, reason }) {
  const because = reason || WHY[why] || "";
  return `${name} has drifted (${score.toFixed(2)})${because ? `: ${because}` : ""}`;
}

// What was done with an object: its name, the place, and what the server answered.
export function doneText(act, name, { frame, from, to, other }, { changed, key_frames: drawn }) {
  const frames = from === to ? `frame ${from}` : `frames ${from} to ${to}`;
  const gone = !drawn ? "" : ` ${/[-,]/.test(drawn) ? "Masks that were drawn are gone from frames" : "A mask that was drawn is gone from frame"} ${drawn}.`;
  if (act === "start") return `${name} starts at frame ${frame}.${gone}`;
  if (act === "end") return `${name} ends at frame ${frame}.${gone}`;
  if (act === "split") return `From frame ${frame} on ${name} is ${other}.`;
  if (act === "merge") return `${name} is part of ${other} now.`;
  if (act === "delete") return `${name} is absent on ${frames}.${gone}`;
  return changed ? `Forgot ${name} on ${frames}: it is computed anew on the way through.`
    : `Nothing was computed of ${name} on ${frames}.`;
}

// ["anna"] -> "anna is here too". Who came in without a key has no name: "local".
export function peopleText(people) {
  const named = [...new Set(people)].filter((name) => name !== NAMELESS);
  const others = people.filter((name) => name === NAMELESS).length;
  const all = [...named, ...(others ? [others === 1 ? "somebody" : `${others} others`] : [])];
  if (!all.length) return "";
  const words = all.length === 1 ? all[0] : `${all.slice(0, -1).join(", ")} and ${all.at(-1)}`;
  const are = all.length > 1 || others > 1 ? "are" : "is";
  return `${words === "somebody" ? "Somebody" : words} ${are} here too`;
}

export function busyText(busy) {
  if (!busy) return "";
  if (busy.waiting) return "Waits for a worker…";
  if (busy.share > 0 && busy.share < 1) return `Learning the objects: ${Math.round(100 * busy.share)} %`;
  if (busy.kind === "prepare") return "Getting ready…";
  if (busy.kind === "segment") return "Finding the object…";
  return busy.from === busy.to || Math.abs(busy.to - busy.from) === 1 ? `Computing frame ${busy.to}…`
    : `Computing ${busy.to < busy.from ? "back" : "on"} to frame ${busy.to}: at frame ${busy.frame}`;
}
