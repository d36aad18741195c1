// Times as "2 min ago", or as clock times in a log; with the local date and time on hover.

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" }); // HH:MM:SS
const steps = [["day", 86400], ["h", 3600], ["min", 60]]; // in seconds

export function tellTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = "clock" in element.dataset ? clock.format(at) : words((Date.now() - at.getTime()) / 1000);
    if (element.textContent !== text) element.textContent = text;
    element.title = at.toLocaleString();
  }
}

// A length of time in words: 130 -> "2 min 10 s".
export function length(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function words(seconds) {
  for (const [unit, size] of steps) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${unit === "day" && count > 1 ? "days" : unit} ago`;
  }
  return "just now";
}
