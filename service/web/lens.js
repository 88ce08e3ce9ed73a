// Zoom, place and split of the picture on the stage, the same for everything that is shown there.

import { announce, element } from "./page.js";

const MOST = 32;
const STEP = 1.5;
const NEAR_PX = 28; // so near the line, a drag moves the line and not the picture

let scale = 1;
let centre = [0.5, 0.5]; // of the picture, shown in the middle of its pane
const fingers = new Map(); // pointerId -> [x, y]
let drag = null; // what one finger does: "split" or "pan"

/** Connects buttons, keys, wheel and fingers. Call once. */
export function startLens() {
  element("zoom-in").addEventListener("click", () => zoomBy(STEP, centre));
  element("zoom-out").addEventListener("click", () => zoomBy(1 / STEP, centre));
  element("zoom-fit").addEventListener("click", fit);
  element("split").addEventListener("input", render);
  const picture = element("picture");
  picture.addEventListener("keydown", onKey);
  picture.addEventListener("wheel", onWheel, { passive: false });
  picture.addEventListener("dblclick", (event) => {
    if (scale > 1) fit();
    else zoomBy(STEP ** 3, placeOf(event.clientX, event.clientY));
  });
  picture.addEventListener("pointerdown", onDown);
  picture.addEventListener("pointermove", onMove);
  for (const kind of ["pointerup", "pointercancel"]) picture.addEventListener(kind, onUp);
  render();
}

/** The whole picture again. */
export function fit() {
  scale = 1;
  centre = [0.5, 0.5];
  render();
}

/** Places what is on the stage anew, after it or the stage has changed. */
export function refreshLens() {
  render();
}

function zoomBy(factor, about, { quiet = false } = {}) {
  const before = scale;
  scale = Math.min(MOST, Math.max(1, scale * factor));
  // The place `about` stays where it is on the screen.
  centre = centre.map((middle, axis) => about[axis] + ((middle - about[axis]) * before) / scale);
  render();
  if (!quiet) announce(`Zoom ${label()}`);
}

function panBy(dx, dy) {
  centre = [centre[0] + dx, centre[1] + dy];
  render();
}

function label() {
  return `${Number(scale.toFixed(scale < 10 ? 1 : 0))}×`;
}

function render() {
  const margin = 0.5 / scale;
  centre = centre.map((middle) => Math.min(1 - margin, Math.max(margin, middle)));
  const { style, dataset } = element("picture");
  style.setProperty("--zoom", String(scale));
  style.setProperty("--pan-x", `${(0.5 - centre[0]) * scale * 100}%`);
  style.setProperty("--pan-y", `${(0.5 - centre[1]) * scale * 100}%`);
  style.setProperty("--split", `${element("split").value}%`);
  const canvas = element("stage-base");
  dataset.crisp = String(canvas.clientWidth * scale >= 3 * canvas.width);
  dataset.zoomed = String(scale > 1);
  element("zoom-fit").textContent = label();
  element("zoom-fit").setAttribute("aria-label", `Zoom ${label()}. Show the whole picture`);
  element("zoom-out").disabled = scale === 1;
  element("zoom-in").disabled = scale === MOST;
}

function onKey(event) {
  const step = 0.1 / scale;
  const actions = {
    "+": () => zoomBy(STEP, centre),
    "=": () => zoomBy(STEP, centre),
    "-": () => zoomBy(1 / STEP, centre),
    "0": fit,
    ArrowLeft: () => panBy(-step, 0),
    ArrowRight: () => panBy(step, 0),
    ArrowUp: () => panBy(0, -step),
    ArrowDown: () => panBy(0, step),
  };
  const moves = event.key.startsWith("Arrow");
  if (!(event.key in actions) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (moves && (event.target === element("split") || scale === 1)) return;
  event.preventDefault();
  actions[event.key]();
}

function onWheel(event) {
  if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 200), placeOf(event.clientX, event.clientY), { quiet: true });
}

/** Where on the picture, 0 to 1 each way, a point of the screen is. */
function placeOf(x, y) {
  const box = paneAt(x, y).getBoundingClientRect();
  const inside = [(x - box.left) / box.width, (y - box.top) / box.height];
  return centre.map((middle, axis) => middle + (inside[axis] - 0.5) / scale);
}

function paneAt(x, y) {
  const panes = [...document.querySelectorAll("#picture .pane:not([hidden])")];
  const holds = ({ left, right, top, bottom }) => x >= left && x <= right && y >= top && y <= bottom;
  return panes.find((pane) => holds(pane.getBoundingClientRect())) ?? panes[0];
}

function onDown(event) {
  if (event.button !== 0) return;
  const picture = element("picture");
  picture.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  if (fingers.size > 1) {
    drag = null; // two fingers zoom
    return;
  }
  const sliding = !element("slider").hidden;
  drag = sliding && (scale === 1 || nearLine(event.clientX)) ? "split" : scale > 1 ? "pan" : null;
  if (drag === "split") {
    element("split").focus({ preventScroll: true });
    event.preventDefault();
    moveSplit(event.clientX);
  }
}

function onMove(event) {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY];
  if (fingers.size === 2) pinch(event.pointerId, before, now);
  else if (drag === "split") moveSplit(event.clientX);
  else if (drag === "pan") {
    const box = paneAt(...now).getBoundingClientRect();
    panBy((before[0] - now[0]) / box.width / scale, (before[1] - now[1]) / box.height / scale);
  }
  fingers.set(event.pointerId, now);
}

function onUp(event) {
  fingers.delete(event.pointerId);
  drag = null;
}

function pinch(moved, before, now) {
  const [, still] = [...fingers].find(([id]) => id !== moved);
  const distance = (point) => Math.hypot(point[0] - still[0], point[1] - still[1]);
  const middle = [(now[0] + still[0]) / 2, (now[1] + still[1]) / 2];
  zoomBy(distance(now) / Math.max(1, distance(before)), placeOf(...middle), { quiet: true });
}

function nearLine(x) {
  const box = element("slider").getBoundingClientRect();
  return Math.abs(x - box.left - (Number(element("split").value) / 100) * box.width) <= NEAR_PX;
}

function moveSplit(x) {
  const box = element("slider").getBoundingClientRect();
  const percent = ((x - box.left) / box.width) * 100;
  element("split").value = String(Math.round(Math.min(100, Math.max(0, percent))));
  render();
}
