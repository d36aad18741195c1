// Short messages at the corner of the page; errors stay until they are dismissed.

const place = document.getElementById("notes");

export function note(text, { bad = false } = {}) {
  for (const old of place.querySelectorAll(".note")) {
    if (old.dataset.text === text) old.remove();
  }
  const box = document.createElement("div");
  box.className = bad ? "note bad" : "note";
  box.dataset.text = text;
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "×";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => box.remove());
  box.append(words, close);
  place.append(box);
  if (!bad) setTimeout(() => box.remove(), 5000);
}
