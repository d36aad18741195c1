// A line in a list of uploads: the file's name, a bar, a state in words, a button that ends it.

export function uploadRow(file, list) {
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = file.name;
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  const state = document.createElement("span");
  state.className = "muted";
  state.textContent = "waits";
  const stop = document.createElement("button");
  stop.type = "button";
  stop.className = "quiet";
  stop.textContent = "Cancel";
  line.append(name, bar, state, stop);
  list.append(line);
  return { line, bar, state, stop };
}
