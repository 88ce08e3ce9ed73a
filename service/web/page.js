// How the page speaks: elements by id, the status line, announcements and errors.

/** The element with this id; every id named in these modules exists in index.html. */
export function element(id) {
  return document.getElementById(id);
}

let serverState = { state: "waiting", text: "Connecting" };
let tasks = 0;
let waitingText = null;

/** What the server is: `waiting`, `ready` or `trouble`, with a word for it. */
export function setServerState(state, text) {
  serverState = { state, text };
  renderStatus();
}

/** Shows "working" while `task` runs. */
export async function working(task) {
  tasks += 1;
  renderStatus();
  try {
    return await task();
  } finally {
    tasks -= 1;
    waitingText = null;
    renderStatus();
  }
}

/** Says that the server is full and when the next try comes. */
export function showBusy(sentence, seconds) {
  waitingText = `Busy, again in ${Math.ceil(seconds)} s`;
  renderStatus();
  announce(sentence);
}

/** Tells screen readers, and nobody else. */
export function announce(text) {
  element("announce").textContent = text;
}

/** Shows one sentence until it is closed or something succeeds. */
export function showError(sentence) {
  element("error-text").textContent = asSentence(sentence);
  element("error").hidden = false;
}

/** The server's words as a sentence of this page: a capital first, a full stop last, no marks of code. */
export function asSentence(words) {
  const text = words.trim().replaceAll("`", "");
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Takes the last error away. */
export function clearError() {
  element("error").hidden = true;
}

/** Points a download button at `blob`, or at nothing. The object URL it replaces is released. */
export function setDownload(link, blob, name, shownSize) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.querySelector(".size").textContent = shownSize ?? "";
  if (blob === null) {
    link.removeAttribute("href");
    link.removeAttribute("download");
    link.setAttribute("aria-disabled", "true");
    return;
  }
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.removeAttribute("aria-disabled");
}

/** Fills a select with `[value, text]` pairs. */
export function fillSelect(select, options, chosen) {
  const option = ([value, text]) => new Option(text, value, false, String(value) === String(chosen));
  select.replaceChildren(...options.map(option));
  select.disabled = options.length === 0;
}

function renderStatus() {
  let { state, text } = serverState;
  if (tasks > 0 && state === "ready") {
    state = "working";
    text = waitingText ?? "Working";
  }
  element("status").dataset.state = state;
  element("status-text").textContent = text;
}
