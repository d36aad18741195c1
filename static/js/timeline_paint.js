// Drawing the lanes and the ruler of the timeline. Frames are counted here by their place, 0 to
// count - 1; colours come from the page's style, so that both colour schemes fit.

export const ROW = 26; // CSS pixels of a lane
const ABSENT = 0, KEY = 2, CARRIED = 3;
const UNKNOWN = 255; // a score that is not known
const LEVELS = 24; // of heat
const STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10000, 20000, 50000];
const TICK = 76; // CSS pixels between two numbers of the ruler

// -> colours for the present scheme.
export function palette(element) {
  const style = getComputedStyle(element);
  const named = (name) => style.getPropertyValue(name).trim();
  const [calm, amber, red] = ["--calm", "--amber-heat", "--red-heat"].map((name) => parse(named(name)));
  const heat = Array.from({ length: LEVELS + 1 }, (_, level) => {
    const score = level / LEVELS;
    if (score <= 0.2) return mix(calm, calm, 0);
    return score <= 0.5 ? mix(calm, amber, (score - 0.2) / 0.3) : mix(amber, red, Math.min(1, (score - 0.5) / 0.3));
  });
  return { heat, calm: mix(calm, calm, 0), ink: named("--ink"), soft: named("--soft"), line: named("--line"), wash: named("--lane-wash"), accent: named("--accent"), red: named("--red"), sheet: named("--sheet") };
}

// `view`: {from, to} places, with fractions, at the left and right edge of `width` pixels.
export function columnsOf(view, width, count) {
  const columns = new Int32Array(width + 1);
  for (let x = 0; x <= width; x += 1) {
    columns[x] = Math.min(count, Math.max(0, Math.floor(view.from + (x * (view.to - view.from)) / width)));
  }
  return columns;
}

// One lane from `top` on; `ratio`: device pixels for a CSS pixel.
export function paintLane(context, { presence, scores }, { view, columns, top, ratio }, colours) {
  const middle = top + (ROW * ratio) / 2;
  const width = columns.length - 1;
  let start = 0, before = -2;
  for (let x = 0; x <= width; x += 1) {
    const kind = x < width ? kindOf(presence, scores, columns[x], Math.max(columns[x + 1], columns[x] + 1)) : -3;
    if (kind !== before) {
      if (x > start) paintPiece(context, before, start, x, middle, ratio, colours);
      start = x;
      before = kind;
    }
  }
  context.fillStyle = colours.ink;
  const cell = width / (view.to - view.from);
  const thick = Math.max(2 * ratio, Math.min(6 * ratio, cell));
  const last = Math.min(presence.length, Math.ceil(view.to));
  for (let at = presence.indexOf(KEY, Math.floor(view.from)); at >= 0 && at < last; at = presence.indexOf(KEY, at + 1)) {
    context.fillRect((at + 0.5 - view.from) * cell - thick / 2, middle - 9 * ratio, thick, 18 * ratio);
  }
}

// 0 to LEVELS: computed, with that much doubt; LEVELS + 1: computed, doubt not known; -1: absent,
// -2: carried over. What is worst in a column counts.
function kindOf(presence, scores, from, to) {
  let worst = -1, hasCarried = false, hasUnknown = false;
  for (let at = from; at < to && at < presence.length; at += 1) {
    if (presence[at] === ABSENT) continue;
    if (presence[at] === CARRIED) { hasCarried = true; continue; }
    if (presence[at] === KEY || scores[at] === UNKNOWN) { hasUnknown = true; continue; }
    if (scores[at] > worst) worst = scores[at];
  }
  if (worst >= 0) return Math.round((worst * LEVELS) / 254);
  if (hasUnknown) return LEVELS + 1;
  return hasCarried ? -2 : -1;
}

function paintPiece(context, kind, from, to, middle, ratio, colours) {
  if (kind === -1) {
    context.fillStyle = colours.line;
    context.fillRect(from, middle - 0.5 * ratio, to - from, ratio);
    return;
  }
  const score = kind > LEVELS ? 0 : kind / LEVELS;
  const half = (kind === -2 ? 1.5 : 3 + 6 * score) * ratio;
  context.fillStyle = kind === -2 ? colours.soft : kind > LEVELS ? colours.calm : colours.heat[kind];
  context.fillRect(from, middle - half, to - from, 2 * half);
}

// Numbers, key frames, and flags over the frames that are worth a correction.
export function paintRuler(context, { view, width, height, ratio, first, step, keys, worst }, colours) {
  context.clearRect(0, 0, width, height);
  const scale = width / (view.to - view.from);
  const every = STEPS.find((each) => each * scale >= TICK * ratio) ?? STEPS.at(-1);
  context.font = `${11 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "middle";
  const begin = Math.ceil(view.from / every) * every;
  for (let place = begin; place < view.to; place += every) {
    const x = Math.round((place + 0.5 - view.from) * scale);
    context.fillStyle = colours.line;
    context.fillRect(x, height - 9 * ratio, ratio, 9 * ratio);
    context.fillStyle = colours.soft;
    const text = String(first + place * step);
    const wide = context.measureText(text).width;
    context.fillText(text, Math.max(2 * ratio, Math.min(width - wide - 2 * ratio, x - wide / 2)), height / 2 - 3 * ratio);
  }
  context.fillStyle = colours.ink;
  for (const place of keys) {
    const x = (place + 0.5 - view.from) * scale;
    if (x < -9 || x > width + 9) continue;
    context.beginPath();
    for (const [dx, dy] of [[0, -4], [4, 0], [0, 4], [-4, 0]]) context.lineTo(x + dx * ratio, height - (5 - dy) * ratio);
    context.fill();
  }
  context.fillStyle = colours.red;
  for (const place of worst) {
    const x = (place + 0.5 - view.from) * scale;
    context.beginPath();
    for (const [dx, dy] of [[-4.5, 0], [4.5, 0], [0, 6]]) context.lineTo(x + dx * ratio, dy * ratio);
    context.fill();
  }
}

function parse(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function mix(one, other, share) {
  return `rgb(${one.map((value, at) => Math.round(value + (other[at] - value) * share)).join(" ")})`;
}
