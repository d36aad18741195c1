// Bringing the page up to date: the server renders it, and only what differs is exchanged here.

import { page } from "./api.js";
import { tellTimes } from "./times.js";

const written = new WeakMap(); // element -> how the server wrote it, before times were told

export class Refresh {
  // `told(error)` hears after every attempt whether the server answered (null) or why not.
  constructor(told) {
    this.told = told;
    this.exchanged = () => {}; // hears when the page shows what the server says
    this.address = () => location.pathname + location.search;
    this.wanted = false;
    this.busy = false;
    this.last = 0;
    this.timer = 0;
    remember(document);
    tellTimes();
  }

  // Ask for a refresh; many at once become one, at most one a second.
  soon() {
    this.wanted = true;
    if (this.busy || this.timer || document.hidden) return;
    const wait = Math.max(0, this.last + 1000 - Date.now());
    this.timer = setTimeout(() => { this.timer = 0; this.now(); }, wait);
  }

  async now() {
    if (this.busy) { this.wanted = true; return; }
    this.busy = true;
    this.wanted = false;
    const asked = this.address();
    try {
      const { status, path, dom } = await page(asked, { headers: { "Mask-Relay-Refresh": "1" } });
      const isGone = path === "/" && document.querySelector("[data-page-job]") !== null;
      if (isGone) location.assign("/");
      else if (status !== 200) throw new Error(dom.querySelector("main p")?.textContent || "The server failed.");
      else if (asked === this.address()) { exchange(dom); this.exchanged(); }
      this.told(null);
      if (!isGone) document.dispatchEvent(new Event("refreshed")); // parts that read for themselves do so now
    } catch (error) {
      this.told(error);
    } finally {
      this.busy = false;
      this.last = Date.now();
      if (this.wanted) this.soon();
    }
  }
}

function remember(root) {
  for (const element of root.querySelectorAll("[data-live='block'], [data-live='list'] > *")) {
    written.set(element, element.outerHTML);
  }
}

function exchange(dom) {
  const focus = mark(document.activeElement);
  for (const fresh of dom.querySelectorAll("[data-live='block']")) {
    const old = document.getElementById(fresh.id);
    if (old && written.get(old) !== fresh.outerHTML) put(old, fresh);
  }
  for (const fresh of dom.querySelectorAll("[data-live='list']")) {
    const old = document.getElementById(fresh.id);
    if (old) exchangeList(old, fresh);
  }
  tellTimes();
  if (focus && document.activeElement === document.body) focus()?.focus({ preventScroll: true });
}

// Children are told apart by their ids; those that did not change stay the very same elements.
function exchangeList(old, fresh) {
  const present = new Map([...old.children].map((child) => [child.id, child]));
  const children = [...fresh.children].map((child) => {
    const before = present.get(child.id);
    if (before && written.get(before) === child.outerHTML) return before;
    const source = child.outerHTML;
    keepOpen(before, child);
    keepPictures(before, child);
    const adopted = document.adoptNode(child);
    written.set(adopted, source);
    return adopted;
  });
  const same = children.length === old.children.length && children.every((c, i) => c === old.children[i]);
  if (!same) old.replaceChildren(...children);
}

function put(old, fresh) {
  const source = fresh.outerHTML;
  keepOpen(old, fresh);
  const adopted = document.adoptNode(fresh);
  old.replaceWith(adopted);
  written.set(adopted, source);
}

function keepOpen(old, fresh) {
  if (!old) return;
  if (old.tagName === "DETAILS") fresh.open = old.open;
  const after = fresh.querySelectorAll("details");
  old.querySelectorAll("details").forEach((details, index) => {
    if (details.open && after[index]) after[index].open = true;
  });
}

// A picture that is shown stays the very same element, so that it does not flicker.
function keepPictures(old, fresh) {
  if (!old) return;
  const shown = new Map([...old.querySelectorAll("img[src]")].map((image) => [image.getAttribute("src"), image]));
  for (const image of fresh.querySelectorAll("img[src]")) {
    const same = shown.get(image.getAttribute("src"));
    if (same?.alt === image.alt) image.replaceWith(same);
  }
}

// Return a way to find again what had the focus, in the exchanged page.
function mark(element) {
  if (element?.id && element.matches("select, input, button")) return () => document.getElementById(element.id);
  if (element?.dataset?.pick) return () => document.querySelector(`[data-pick="${CSS.escape(element.dataset.pick)}"]`);
  const { action, job } = element?.dataset ?? {};
  if (action && job) return () => document.querySelector(`[data-action="${action}"][data-job="${CSS.escape(job)}"]`)
    ?? document.querySelector(`#job-${CSS.escape(job)} a`);
  const card = element?.closest?.(".card");
  if (card) return () => document.querySelector(`#${CSS.escape(card.id)} a`);
  const summary = element?.closest?.("details[id] > summary");
  return summary ? () => document.querySelector(`#${CSS.escape(summary.parentElement.id)} > summary`) : null;
}
