// Times as "2 min ago", or as clock times in a log; with the local date and time on hover.

const near = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" }); // HH:MM:SS
const steps = [["day", 86400], ["hour", 3600], ["minute", 60]];

export function tellTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = "clock" in element.dataset ? clock.format(at) : words((at.getTime() - Date.now()) / 1000);
    if (element.textContent !== text) element.textContent = text;
    element.title = at.toLocaleString();
  }
}

function words(seconds) {
  for (const [unit, length] of steps) {
    if (Math.abs(seconds) >= length) return near.format(Math.trunc(seconds / length), unit);
  }
  return "just now";
}
