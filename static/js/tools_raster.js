// Drawing into masks: bits of a whole frame, one byte, 0 or 1, for each pixel.
//
// A pixel belongs to a shape when its centre does. Each function returns the box [left, top, right,
// bottom) of what it may have changed, or null.

// A line from one point to another with round ends: a brush of `radius` pixels that was moved.
export function capsule(bits, width, height, [x0, y0], [x1, y1], radius, value) {
  const box = clipped(
    Math.min(x0, x1) - radius, Math.min(y0, y1) - radius,
    Math.max(x0, x1) + radius, Math.max(y0, y1) + radius, width, height,
  );
  if (!box) return null;
  const [left, top, right, bottom] = box;
  const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy, reach = radius * radius;
  for (let y = top; y < bottom; y += 1) {
    for (let x = left; x < right; x += 1) {
      const px = x + 0.5 - x0, py = y + 0.5 - y0;
      const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const ex = px - along * dx, ey = py - along * dy;
      if (ex * ex + ey * ey <= reach) bits[y * width + x] = value;
    }
  }
  return box;
}

// What a closed line encloses (even-odd). `points`: [[x, y], ...].
export function polygon(bits, width, height, points, value) {
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const box = clipped(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), width, height);
  if (!box) return null;
  const [left, top, right, bottom] = box;
  for (let y = top; y < bottom; y += 1) {
    const at = y + 0.5, cuts = [];
    points.forEach(([x1, y1], index) => {
      const [x0, y0] = points[(index || points.length) - 1];
      if ((y0 <= at) !== (y1 <= at)) cuts.push(x0 + ((at - y0) / (y1 - y0)) * (x1 - x0));
    });
    cuts.sort((a, b) => a - b);
    for (let i = 0; i + 1 < cuts.length; i += 2) {
      const from = Math.max(left, Math.ceil(cuts[i] - 0.5)), to = Math.min(right, Math.ceil(cuts[i + 1] - 0.5));
      if (to > from) bits.fill(value, y * width + from, y * width + to);
    }
  }
  return box;
}

function clipped(left, top, right, bottom, width, height) {
  const box = [
    Math.max(0, Math.floor(left)), Math.max(0, Math.floor(top)),
    Math.min(width, Math.ceil(right) + 1), Math.min(height, Math.ceil(bottom) + 1),
  ];
  return box[2] > box[0] && box[3] > box[1] ? box : null;
}
