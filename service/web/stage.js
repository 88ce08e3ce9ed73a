// The large picture and the strip below it: compare, original, reconstruction, difference, latent, channels, codes.

import { paintDifference, paintThumb } from "./pictures.js";
import { element } from "./page.js";

const VIEWS = ["compare", "original", "reconstruction", "difference", "latent", "channels", "codes"];
const BLANK = { original: null, reconstruction: null, latent: null, channels: null, codes: null, words: "" };

let shown = BLANK;
let difference = null;

/** Connects the strip, the comparing slider and the amplification. Call once. */
export function startStage() {
  for (const radio of document.querySelectorAll('input[name="view"]')) radio.addEventListener("change", render);
  element("split").addEventListener("input", placeSplit);
  element("gain").addEventListener("input", () => {
    element("gain-value").textContent = `${element("gain").value}×`;
    renewDifference();
    render();
  });
  followPointer();
  placeSplit();
}

/** Shows what is known of a picture: canvases `original`, `reconstruction`, `latent`, `channels`, `codes` (or null), `words` about it. */
export function showPicture(parts) {
  shown = { ...BLANK, ...parts };
  renewDifference();
  for (const view of VIEWS) {
    const thumb = element(`thumb-${view}`);
    const source = thumbSource(view);
    thumb.closest(".frame").classList.toggle("empty", source === null);
    if (source) paintThumb(thumb, source);
    else thumb.getContext("2d").clearRect(0, 0, thumb.width, thumb.height);
  }
  if (canCompare()) paintCompareThumb();
  render();
}

/** Whether the strip has a place for codes: a continuous tokenizer sends none. */
export function showCodesFrame(there) {
  element("thumb-codes").closest(".frame").hidden = !there;
  const chosen = document.querySelector('input[name="view"]:checked').value;
  if (chosen === "codes" && !there) document.querySelector('input[name="view"][value="compare"]').checked = true;
}

/** Says something on the stage, over the picture if there is one; null takes it away. */
export function noteOnStage(text) {
  element("stage-note").hidden = text === null;
  element("stage-note").textContent = text ?? "";
}

/** Shows that the stage is waiting for the server. */
export function setStageBusy(busy) {
  element("stage").setAttribute("aria-busy", String(busy));
}

function canCompare() {
  return shown.original !== null && shown.reconstruction !== null;
}

function thumbSource(view) {
  if (view === "compare") return canCompare() ? shown.original : null;
  return view === "difference" ? difference : shown[view];
}

function renewDifference() {
  difference = canCompare() ? paintDifference(shown.original, shown.reconstruction, Number(element("gain").value)) : null;
  if (difference) paintThumb(element("thumb-difference"), difference);
}

function paintCompareThumb() {
  const thumb = element("thumb-compare");
  const context = thumb.getContext("2d");
  const half = thumb.width / 2;
  paintThumb(thumb, shown.reconstruction);
  context.save();
  context.beginPath();
  context.rect(0, 0, half, thumb.height);
  context.clip();
  const side = Math.min(shown.original.width, shown.original.height);
  const left = (shown.original.width - side) / 2;
  const top = (shown.original.height - side) / 2;
  context.drawImage(shown.original, left, top, side, side, 0, 0, thumb.width, thumb.height);
  context.restore();
  context.fillStyle = "#fff";
  context.fillRect(half - 2, 0, 4, thumb.height);
}

function render() {
  const view = document.querySelector('input[name="view"]:checked').value;
  const comparing = view === "compare" && canCompare();
  // Until there is something to compare with, the one picture there is.
  const base = view === "compare" ? shown.original ?? shown.reconstruction : thumbSource(view);
  element("stage").dataset.view = view;
  element("stage-top").hidden = !comparing;
  element("slider").hidden = !comparing;
  element("picture").hidden = base === null;
  element("gain-field").hidden = view !== "difference" || base === null;
  element("caption").textContent = captionOf(view);
  if (base === null) return;
  copyTo(element("stage-base"), base);
  if (comparing) copyTo(element("stage-top"), shown.reconstruction);
  element("stage-base").setAttribute("aria-label", captionOf(view));
  element("picture").style.setProperty("--ratio", String(base.width / base.height));
}

function captionOf(view) {
  if (shown.original === null && shown.reconstruction === null) return "\u00a0";
  const captions = {
    compare: shown.words,
    original: shown.words,
    reconstruction: "Decoded from the latent alone.",
    difference: "Where the two differ, colour by colour. Black is no difference.",
    latent: "One tile per position of the latent; colours are its three principal components.",
    channels: "Every channel, most varied first. Clay is negative, white is zero, teal is positive.",
    codes: "The index sent for each position; every code has a colour of its own.",
  };
  return captions[view];
}

function copyTo(canvas, source) {
  canvas.width = source.width;
  canvas.height = source.height;
  canvas.getContext("2d").drawImage(source, 0, 0);
}

function placeSplit() {
  element("picture").style.setProperty("--split", `${element("split").value}%`);
}

function followPointer() {
  const slider = element("slider");
  const move = (event) => {
    const box = slider.getBoundingClientRect();
    const percent = ((event.clientX - box.left) / box.width) * 100;
    element("split").value = String(Math.round(Math.min(100, Math.max(0, percent))));
    placeSplit();
  };
  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    slider.setPointerCapture(event.pointerId);
    element("split").focus({ preventScroll: true });
    event.preventDefault();
    move(event);
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) move(event);
  });
}
