// The dashboard: filters that need no reload, and its keys.

import { act, jobOf } from "./actions.js";
import { Keys } from "./keys.js";
import { changed, refresh } from "./main.js";
import { Selection } from "./selection.js";

const search = document.getElementById("search");
const selection = new Selection(changed);
refresh.exchanged = () => { showOnly(); selection.fit(); };

document.querySelector(".states [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// -- filters: the address says what is shown, so that it can be kept and sent ----------------------

function go(address) {
  history.replaceState(null, "", address);
  refresh.now();
}

function choose(name, value) {
  const address = new URL(location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  address.searchParams.delete("limit");
  go(address);
  showOnly();
}

// All boxes, or the one that was asked for in the whole width.
function showOnly() {
  const only = new URL(location.href).searchParams.get("state");
  document.querySelector(".board").classList.toggle("single", Boolean(only));
  for (const box of document.querySelectorAll("[data-box]")) box.hidden = Boolean(only) && box.dataset.box !== only;
}

document.addEventListener("click", (event) => {
  const filter = event.target.closest("a[data-filter]");
  if (!filter || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  choose("state", new URL(filter.href).searchParams.get("state"));
});
document.addEventListener("change", ({ target }) => {
  if (target.matches("select[data-filter]")) choose(target.name, target.value);
});
let timer = 0;
search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => choose("search", search.value.trim()), 250); });
search.form.addEventListener("submit", (event) => { event.preventDefault(); choose("search", search.value.trim()); });

// -- keys ------------------------------------------------------------------------------------------

const WAYS = { ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowDown: [0, 1] };
const shown = () => [...document.querySelectorAll("[data-box]:not([hidden]) .card")];
const current = () => document.activeElement?.closest?.(".card") ?? null;
const middle = (element) => {
  const { left, top, width, height } = element.getBoundingClientRect();
  return [left + width / 2, top + height / 2];
};

function focusOn(card) {
  if (!card) return;
  card.querySelector("h3 a").focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

function neighbour(step) {
  const cards = shown();
  const at = cards.indexOf(current());
  focusOn(at < 0 ? cards[0] : cards[Math.min(cards.length - 1, Math.max(0, at + step))]);
}

// The nearest card that way, as one sees it.
function towards(dx, dy) {
  const from = current();
  if (!from) { neighbour(0); return; }
  const [x, y] = middle(from);
  let best = null, least = Infinity;
  for (const card of shown()) {
    const [cx, cy] = middle(card);
    const along = (cx - x) * dx + (cy - y) * dy;
    const aside = Math.abs((cx - x) * dy) + Math.abs((cy - y) * dx);
    if (card === from || along < 8 || (dy && aside > 40)) continue;
    const far = along + 2 * aside;
    if (far < least) { best = card; least = far; }
  }
  focusOn(best);
}

function onCurrent(action) {
  const card = current();
  if (card?.dataset.can.split(" ").includes(action)) act(action, [jobOf(card)], changed);
}

function pick(event) {
  const card = current();
  if (card) selection.pick(card.dataset.job, !selection.has(card.dataset.job), event.shiftKey);
}

const keys = new Keys([
  { title: "Between cards", keys: [
    { on: ["j"], shown: "j", does: "next card", run: () => neighbour(1) },
    { on: ["k"], shown: "k", does: "card before", run: () => neighbour(-1) },
    { on: Object.keys(WAYS), shown: ["←", "↑", "→", "↓"], does: "the nearest card that way", run: ({ key }) => towards(...WAYS[key]) },
    { shown: "Enter", does: "open the job" },
  ] },
  { title: "With the card", keys: [
    { on: ["s"], shown: "s", does: "start or run again", run: () => onCurrent("start") },
    { on: ["r"], shown: "r", does: "retry", run: () => onCurrent("retry") },
    { on: ["p"], shown: "p", does: "pause or resume", run: () => { onCurrent("pause"); onCurrent("resume"); } },
    { on: ["x", "Shift+x"], shown: "x", does: "select; with Shift all since the last one", run: pick },
  ] },
  { title: "Page", keys: [
    { on: ["/"], shown: "/", does: "search", run: () => search.focus() },
    { on: ["u"], shown: "u", does: "upload", run: () => document.getElementById("choose")?.click() },
    { on: ["Escape"], shown: "Esc", does: "select nothing", run: () => selection.clear() },
    { shown: "?", does: "this list" },
  ] },
]);
document.addEventListener("click", (event) => { if (event.target.closest("#show-keys")) keys.open(); });
