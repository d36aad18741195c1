// Accept frames: they become a result that CVAT imports, and the download begins.

import { note } from "./notes.js";

export function bindAccept({ session, view, complain, before }) {
  const dialog = document.getElementById("accept");
  const form = dialog.querySelector("form");
  const { which, until, download } = form.elements;
  const reason = dialog.querySelector(".reason");
  const doing = dialog.querySelector(".doing");
  const opener = document.querySelector("[data-do='accept']");
  const buttons = [opener, dialog.querySelector("[value='accept']")];
  const words = buttons.map((button) => button.textContent);

  opener.addEventListener("click", async () => {
    try { await before(); } catch (error) { complain(error.message); return; }
    const { sequence } = view;
    Object.assign(until, { min: sequence.first, max: sequence.last, step: sequence.step, value: view.frame });
    which.value = "until";
    reason.hidden = true;
    dialog.showModal();
    until.select();
  });
  until.addEventListener("input", () => { which.value = "until"; });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    reason.hidden = true;
    show(true);
    try {
      const answer = await session.send("accept", { until: which.value === "all" ? null : until.valueAsNumber });
      dialog.close();
      note(`Accepted as run ${answer.run}${which.value === "all" ? "" : `, up to frame ${until.valueAsNumber}`}.`);
      if (download.checked) fetchFile(answer.result);
    } catch (error) {
      if (!dialog.open) complain(error.message);
      reason.textContent = error.message;
      reason.hidden = false;
    } finally { show(false); }
  });

  // A result takes seconds to minutes: who waits sees that it is being made, and asks only once.
  function show(accepting) {
    buttons.forEach((button, index) => {
      button.disabled = accepting;
      button.textContent = accepting ? "Accepting…" : words[index];
    });
    doing.textContent = accepting ? "The result is being written and compared with what was drawn…" : "";
  }
}

function fetchFile(address) {
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  document.body.append(link);
  link.click();
  link.remove();
}
