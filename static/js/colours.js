// A colour for each object: its label's own, or one turned from it where a label has several.

const GOLDEN = 137.508; // degrees: neighbours in the list come to lie far apart
const FALLBACK = [212, 0.68, 0.56]; // hue, saturation, lightness

// The colour of one object as "#rrggbb". `nth`: how many objects of its label come before it; where
// that is not known objects without a label's colour are told apart by their number.
export function colourOf(object, labelColour = "", nth = 0) {
  const own = read(labelColour);
  if (own && nth === 0) return labelColour.toLowerCase();
  const turns = own ? nth : object;
  const [hue, saturation, lightness] = own ?? FALLBACK;
  return write(
    (hue + turns * GOLDEN) % 360,
    Math.min(0.85, Math.max(0.55, saturation)),
    Math.min(0.66, Math.max(0.46, lightness)) + (turns % 3 - 1) * 0.07,
  );
}

// [{object or number, label, color}] -> Map from object number, or label where that is 0, to
// "#rrggbb"; the same for the same list.
export function coloursOf(objects) {
  const numberOf = (each) => each.object ?? each.number;
  const sorted = [...objects].sort((a, b) => numberOf(a) - numberOf(b));
  const seen = new Map(); // colour of a label -> objects so far
  return new Map(sorted.map((each) => {
    const nth = seen.get(each.color) ?? 0;
    seen.set(each.color, nth + 1);
    return [numberOf(each) || each.label, colourOf(numberOf(each), each.color, nth)];
  }));
}

// "#rrggbb" -> [red, green, blue], 0 to 255; grey where it is none.
export function channels(colour) {
  const value = /^#[0-9a-f]{6}$/i.test(colour) ? parseInt(colour.slice(1), 16) : 0x888888;
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function read(colour) {
  if (!/^#[0-9a-f]{6}$/i.test(colour ?? "")) return null;
  const [red, green, blue] = channels(colour).map((each) => each / 255);
  const most = Math.max(red, green, blue), least = Math.min(red, green, blue), span = most - least;
  const lightness = (most + least) / 2;
  if (span === 0) return [FALLBACK[0], FALLBACK[1], lightness];
  const sector = most === red ? (green - blue) / span : most === green ? (blue - red) / span + 2 : (red - green) / span + 4;
  return [(60 * sector + 360) % 360, span / (1 - Math.abs(2 * lightness - 1)), lightness];
}

function write(hue, saturation, lightness) {
  const reach = saturation * Math.min(lightness, 1 - lightness);
  const channel = (offset) => {
    const at = (offset + hue / 30) % 12;
    const value = lightness - reach * Math.max(-1, Math.min(at - 3, 9 - at, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}
