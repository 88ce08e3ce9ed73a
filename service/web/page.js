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

/** Brings what was asked for into sight, where a small screen shows it below the settings. */
export function reveal(part) {
  if (part.getBoundingClientRect().top < 0.7 * innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  part.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
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

/** Saves `blob` as a file at once. */
export function saveAs(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after the click
}

/** A new element with properties (`className`, `textContent`, ...), attributes and children. */
export function make(tag, properties = {}, attributes = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A button of the page. */
export function makeButton(text, onClick, { className = "button small", label } = {}) {
  const button = make("button", { type: "button", className, textContent: text }, label ? { "aria-label": label } : {});
  button.addEventListener("click", onClick);
  return button;
}

/** A seed typed, null for none, or undefined after saying what is wrong with it. */
export function readSeed(input) {
  const text = input.value.trim();
  const fine = text === "" || (/^\d+$/.test(text) && Number.isSafeInteger(Number(text)));
  input.setAttribute("aria-invalid", String(!fine));
  if (fine) return text === "" ? null : Number(text);
  showError("The seed is a whole number from 0 to 9007199254740991, or nothing for a new one each time.");
  input.focus();
  return undefined;
}

/** A seed that nobody chose. */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
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
