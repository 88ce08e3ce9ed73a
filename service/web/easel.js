// The picture to start from, and a brush that says where it is made anew.

import { announce, element } from "./page.js";
import { cover, openPicture, toPng } from "./pictures.js";

const KEY_STEP = 0.05; // of the width, for each press of an arrow
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let picture = null; // a canvas of the generator's size
let mask = null; // of the same size; painted where the picture is made anew
let cursor = [0.5, 0.5];
let last = null; // where the brush was, while it paints
let size = [128, 128];
let source = null; // the picture as it came, for other sizes

/** Connects brush, keys and buttons. Call once. */
export function startEasel() {
  const canvas = element("start-canvas");
  canvas.addEventListener("pointerdown", (event) => {
    if (!picture || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = placeOf(event);
    brush(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!picture) return;
    cursor = placeOf(event);
    if (last) brush(last, cursor);
    last = last && cursor;
    render();
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { last = null; });
  for (const kind of ["focus", "blur", "pointerleave"]) canvas.addEventListener(kind, render);
  canvas.addEventListener("keydown", onKey);
  element("brush-size").addEventListener("input", () => {
    element("brush-size-value").textContent = `${element("brush-size").value} %`;
    render();
  });
  element("mask-clear").addEventListener("click", () => {
    clearMask();
    announce("The mask is empty: all of the picture is made anew.");
  });
  element("start-remove").addEventListener("click", () => {
    removeStart();
    element("start-choose").focus();
  });
  element("strength").addEventListener("input", () => {
    element("strength-value").textContent = Number(element("strength").value).toFixed(2);
  });
}

/** Puts a picture on the easel, the middle of it at the generator's size. Throws an Error where the browser cannot open it. */
export async function setStart(blob, name) {
  const { canvas } = await openPicture(blob, name, 0);
  if (canvas === null) throw new Error("This browser cannot open that file. Choose a PNG, JPEG or WebP picture.");
  source = canvas;
  element("start").open = true;
  element("start-board").hidden = false;
  element("start-choose").textContent = "Choose another";
  fitStart(size);
  announce(`${name} is the picture to start from.`);
}

/** Takes the picture away: generation starts from noise. */
export function removeStart() {
  picture = null;
  source = null;
  element("start-board").hidden = true;
  element("start-choose").textContent = "Choose a picture";
}

/** Brings the picture to [height, width], what the generator makes. */
export function fitStart([height, width]) {
  size = [height, width];
  if (!source) return;
  picture = cover(source, width, height);
  mask = document.createElement("canvas");
  mask.width = width;
  mask.height = height;
  clearMask();
}

/** `{picture, mask, strength}` to be sent, PNG blobs; mask is null where nothing was painted. Null without a picture.
 *
 * The mask is transparent where the picture is made anew, opaque where it is kept. */
export async function startOf() {
  if (!picture) return null;
  const strength = Number(element("strength").value);
  return { picture: await toPng(picture), mask: isBlank() ? null : await toPng(opaqueMask()), strength };
}

function opaqueMask() {
  const canvas = document.createElement("canvas");
  canvas.width = mask.width;
  canvas.height = mask.height;
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(mask, 0, 0);
  return canvas;
}

function isBlank() {
  const { data } = mask.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, mask.width, mask.height);
  for (let index = 3; index < data.length; index += 4) if (data[index] > 0) return false;
  return true;
}

function clearMask() {
  mask.getContext("2d", { willReadFrequently: true }).clearRect(0, 0, mask.width, mask.height);
  render();
}

function brush(from, to) {
  const context = mask.getContext("2d", { willReadFrequently: true });
  const erasing = document.querySelector('input[name="brush"]:checked').value === "erase";
  context.globalCompositeOperation = erasing ? "destination-out" : "source-over";
  context.lineCap = "round";
  context.lineWidth = brushWidth();
  context.beginPath();
  context.moveTo(from[0] * mask.width, from[1] * mask.height);
  context.lineTo(to[0] * mask.width + 0.01, to[1] * mask.height); // a dot is a line too
  context.stroke();
  render();
}

function brushWidth() {
  return (Number(element("brush-size").value) / 100) * picture.width;
}

function onKey(event) {
  if (!picture) return;
  if (event.key in MOVES) {
    const before = cursor;
    cursor = cursor.map((place, axis) => Math.min(1, Math.max(0, place + MOVES[event.key][axis] * KEY_STEP)));
    if (event.shiftKey) brush(before, cursor);
  } else if (event.key === " " || event.key === "Enter") {
    brush(cursor, cursor);
    announce(`Brushed at ${Math.round(100 * cursor[0])} % from the left, ${Math.round(100 * cursor[1])} % from the top.`);
  } else {
    return;
  }
  event.preventDefault();
  render();
}

function placeOf(event) {
  const box = element("start-canvas").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function render() {
  if (!picture) return;
  const canvas = element("start-canvas");
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0);
  context.globalAlpha = 0.55;
  context.drawImage(tinted(), 0, 0);
  context.globalAlpha = 1;
  if (canvas.matches(":focus-visible, :hover")) drawCursor(context);
  const blank = isBlank();
  element("mask-clear").disabled = blank;
  element("start-note").textContent = blank
    ? "Its latent gets noise, and the generator goes on from there. Paint over a part to change only that."
    : "Only what is painted over is made anew; the rest stays as it is.";
  canvas.setAttribute(
    "aria-label",
    `The picture to start from, ${blank ? "nothing" : "a part"} painted over. Arrows move the brush, Space paints, Shift with arrows draws`,
  );
}

function tinted() {
  const canvas = document.createElement("canvas");
  canvas.width = mask.width;
  canvas.height = mask.height;
  const context = canvas.getContext("2d");
  context.drawImage(mask, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "#e2572b";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

function drawCursor(context) {
  const [x, y] = [cursor[0] * picture.width, cursor[1] * picture.height];
  for (const [colour, width] of [["rgb(0 0 0 / 0.7)", 3], ["#fff", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = (width * picture.width) / 280;
    context.beginPath();
    context.arc(x, y, brushWidth() / 2, 0, 2 * Math.PI);
    context.stroke();
  }
}
