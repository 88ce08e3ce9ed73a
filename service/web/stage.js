// The large picture and the strip beside it: compare, original, reconstruction, difference, components, channels, codes.

import { fit, refreshLens } from "./lens.js";
import { element } from "./page.js";
import { paintDifference, paintThumb } from "./pictures.js";

const VIEWS = ["compare", "original", "reconstruction", "difference", "latent", "channels", "codes"];
const BLANK = { original: null, reconstruction: null, latent: null, channels: null, codes: null, words: "", shares: null };

let shown = BLANK;
let difference = null;
let onChoice = () => {};

/** Connects the strip, the two ways to compare and the amplification; `chosen(view)` hears of choices. Call once. */
export function startStage(chosen) {
  onChoice = chosen;
  for (const radio of document.querySelectorAll('input[name="view"]')) {
    radio.addEventListener("change", () => {
      render();
      onChoice(chosenView());
    });
  }
  for (const radio of document.querySelectorAll('input[name="compare-as"]')) radio.addEventListener("change", render);
  element("gain").addEventListener("input", () => {
    element("gain-value").textContent = `${element("gain").value}×`;
    renewDifference();
    render();
  });
  new ResizeObserver(render).observe(element("stage"));
}

/** Shows what is known of a picture: canvases `original`, `reconstruction`, `latent`, `channels`, `codes` (or null),
 * `words` about it, `shares` of the variance that the latent's three colours hold. */
export function showPicture(parts) {
  const other = parts.words !== shown.words;
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
  if (other) fit();
  render();
}

/** Chooses a view, as its link does; an unknown one is the comparison. */
export function chooseView(view) {
  const radio = [...document.querySelectorAll('input[name="view"]')].find(({ value }) => value === view);
  (radio ?? document.querySelector('input[name="view"][value="compare"]')).checked = true;
  render();
}

/** Whether the strip has a place for codes: a continuous tokenizer sends none. */
export function showCodesFrame(there) {
  element("thumb-codes").closest(".frame").hidden = !there;
  if (chosenView() === "codes" && !there) chooseView("compare");
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

function chosenView() {
  return document.querySelector('input[name="view"]:checked').value;
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
  const view = chosenView();
  const comparing = view === "compare" && canCompare();
  const as = document.querySelector('input[name="compare-as"]:checked').value;
  // Until there is something to compare with, the one picture there is.
  const base = view === "compare" ? shown.original ?? shown.reconstruction : thumbSource(view);
  element("stage").dataset.view = view;
  element("pane-over").hidden = !comparing;
  element("slider").hidden = !comparing || as !== "slider";
  element("picture").hidden = base === null;
  element("compare-as").hidden = !comparing;
  element("gain-field").hidden = view !== "difference" || base === null;
  element("zoom").hidden = base === null;
  element("caption").textContent = captionOf(view);
  if (base === null) return;
  copyTo(element("stage-base"), base);
  if (comparing) copyTo(element("stage-top"), shown.reconstruction);
  element("stage-base").setAttribute("aria-label", captionOf(view));
  element("tag-base").textContent = view === "compare" ? (shown.original ? "Original" : "Reconstruction") : "";
  place(base.width / base.height, comparing ? as : "single");
}

/** Gives the picture its shape; two side by side lie as the stage has more room for them. */
function place(ratio, as) {
  const stage = element("stage");
  const [width, height] = [stage.clientWidth, Math.max(1, stage.clientHeight)];
  // The height of each picture, beside and above one another.
  const columns = Math.min(height, width / (2 * ratio)) >= Math.min(height / 2, width / ratio);
  const lies = as !== "both" ? as : columns ? "columns" : "rows";
  const whole = { columns: 2 * ratio, rows: ratio / 2 }[lies] ?? ratio;
  element("picture").dataset.lies = lies;
  element("picture").style.setProperty("--ratio", String(whole));
  refreshLens();
}

function captionOf(view) {
  if (shown.original === null && shown.reconstruction === null) return "\u00a0";
  const captions = {
    compare: shown.words,
    original: shown.words,
    reconstruction: "Decoded from the latent alone.",
    difference: "Where the two differ, colour by colour. Black is no difference.",
    latent: `One tile per position of the latent; colours are its three principal components${sharesOf(shown.shares)}.`,
    channels: "Every channel, most varied first. Clay is negative, white is zero, teal is positive.",
    codes: "The index sent for each position; every code has a colour of its own.",
  };
  return captions[view];
}

function sharesOf(shares) {
  if (!shares) return "";
  const percent = (share) => `${Math.round(100 * share)}`;
  return `, with ${shares.map(percent).join(", ").replace(/, (\d+)$/, " and $1")} % of its variance`;
}

function copyTo(canvas, source) {
  canvas.width = source.width;
  canvas.height = source.height;
  canvas.getContext("2d").drawImage(source, 0, 0);
}
