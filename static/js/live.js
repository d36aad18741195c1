// Hearing of changes: Socket.IO where its client is here, else asking every few seconds.

const ASK_EVERY = 4000; // milliseconds, without live events
const CHECK_EVERY = 20000; // with them: also a page that missed an event is right soon after
const BEAT = 5000; // timers stand still while a laptop sleeps, and none is as late as this by itself

// `job`: the id of the one job to hear of; without it all jobs are of interest.
export function listen({ job, changed, lost, found }) {
  let live = false;
  setInterval(() => { if (!live) changed(); }, ASK_EVERY);
  setInterval(() => { if (live) changed(); }, CHECK_EVERY);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) changed(); });
  addEventListener("online", changed);
  let beat = Date.now();
  setInterval(() => {
    if (Date.now() - beat > 3 * BEAT) changed();
    beat = Date.now();
  }, BEAT);
  addEventListener("pageshow", (event) => { if (event.persisted) changed(); });

  if (typeof globalThis.io !== "function") return;
  const socket = globalThis.io({ reconnectionDelayMax: 5000 });
  socket.on("connect", () => {
    live = true;
    found();
    // A new connection hears of nothing yet, also after a lost one. What changes before it does is
    // seen by looking once it does.
    socket.emit("watch", job ? { job } : {}, changed);
  });
  socket.on("disconnect", () => { live = false; lost(); });
  socket.on("connect_error", () => { live = false; });
  socket.on("job", changed);
  socket.on("workers", changed);
}
