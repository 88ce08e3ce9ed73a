// The figures beside the stage: fidelity, ratios, the latent's shape and size, and the files to save.

import { element, setDownload } from "./page.js";
import { formatBytes, stem } from "./pictures.js";

// What stands under each figure until it is known, as index.html says it.
const notes = Object.fromEntries(
  ["psnr-note", "values-note", "bytes-note", "latent-note"].map((id) => [id, element(id).textContent]),
);
const count = new Intl.NumberFormat("en", { useGrouping: true });

/** Every figure as before the first picture. */
export function blankFigures() {
  for (const id of ["psnr", "values-ratio", "bytes-ratio", "latent-shape"]) element(id).textContent = "–";
  for (const [id, words] of Object.entries(notes)) element(id).textContent = words;
  for (const id of ["values-glyph", "bytes-glyph"]) element(id).style.setProperty("--side", "0%");
  for (const id of ["latent-download", "picture-download"]) setDownload(element(id), null);
}

/** The PSNR of the answer's headers and the time in the network; gives the PSNR to be said aloud. */
export function showFidelity(headers) {
  const value = Number.parseFloat(headers.get("x-tessera-psnr"));
  const identical = headers.get("x-tessera-psnr") === "inf";
  const text = identical ? "∞" : Number.isFinite(value) ? value.toFixed(2) : "–";
  element("psnr").textContent = text;
  const core = /core;dur=([\d.]+)/.exec(headers.get("server-timing") ?? "");
  element("psnr-note").textContent = identical
    ? "Not one value differs from the original."
    : core
      ? `Higher is closer to the original. ${formatTime(Number(core[1]))} in the network.`
      : "Higher is closer to the original.";
  return identical ? "no loss, infinite" : text;
}

/** That there is nothing to compare with, and why. */
export function explainNoFidelity(sentence) {
  element("psnr-note").textContent = sentence;
}

/** Fills in both ratios, the shape and the bits; gives the ratio of values. */
export function showSizes(latent, headers, picture, codes) {
  const pixelValues = picture.width * picture.height * 3;
  const latentValues = latent.channels * latent.positions;
  const ratio = showRatio("values", pixelValues / latentValues);
  element("values-note").textContent = `${count.format(pixelValues)} colour values, ${count.format(latentValues)} in the latent.`;
  const pixelBytes = Number(headers.get("x-tessera-pixel-bytes")) || pixelValues;
  const told = Number(headers.get("x-tessera-latent-bytes")); // /v1/decode does not tell
  const latentBytes = told || (codes ? Math.ceil((numIndices(latent, codes) * codes.bits_per_index) / 8) : latentValues * 2);
  showRatio("bytes", pixelBytes / latentBytes);
  element("bytes-note").textContent =
    `${formatBytes(pixelBytes)} of raw pixels, ${formatBytes(latentBytes)} of latent` +
    `${codes ? `: indices of ${toThree(codes.bits_per_index)} bits` : latentBytes === latentValues * 2 ? " at 16 bits a value" : ""}` +
    `, ${toThree((8 * latentBytes) / (picture.width * picture.height))} bits a pixel.`;
  element("latent-shape").textContent = latent.shape.join(" × ");
  element("latent-note").textContent =
    latent.shape.length === 3 ? "Channels × height × width." : "Channels × tokens.";
  return ratio;
}

/** What the headers of an answer about a clip say of its sizes; gives the ratio of bytes. */
export function showClipSizes(headers) {
  const [pixelBytes, latentBytes] = ["pixel", "latent"].map((what) => Number(headers.get(`x-tessera-${what}-bytes`)));
  const [frames, height, width] = headers.get("x-tessera-size").split(",").map(Number);
  const ratio = showRatio("bytes", pixelBytes / latentBytes);
  element("bytes-note").textContent =
    `${formatBytes(pixelBytes)} of raw pixels, ${formatBytes(latentBytes)} of latent, ` +
    `${toThree((8 * latentBytes) / (frames * height * width))} bits a pixel.`;
  element("latent-note").textContent = `Of ${count.format(frames)} frames of ${width} × ${height}.`;
  return ratio;
}

/** Offers the reconstruction of the clip `name` as a file. */
export function offerClip(name, file) {
  setDownload(element("picture-download"), file, `${stem(name)}-reconstruction.mp4`, formatBytes(file.size));
}

/** Offers the latent of the picture `name` as a file; `dtype` of its elements is said where it is not float32. */
export function offerLatent(name, file, dtype = "float32") {
  const ending = dtype === "float32" ? "safetensors" : `${dtype}.safetensors`;
  setDownload(element("latent-download"), file, `${stem(name)}.${ending}`, formatBytes(file.size));
}

/** Offers the reconstruction of the picture `name` as a file. */
export function offerPicture(name, file) {
  setDownload(element("picture-download"), file, `${stem(name)}-reconstruction.png`, formatBytes(file.size));
}

/** Milliseconds to read: 12 ms, 3.4 s. */
export function formatTime(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toPrecision(2)} s`;
  return `${Math.max(1, Math.round(milliseconds))} ms`;
}

/** Indices of one picture; the scales of a multi-scale code are sides for a latent of the last one's side. */
function numIndices({ positions, height, width }, { num_codebooks: books, scales }) {
  if (!scales) return books * positions;
  const side = (length, scale) => Math.ceil((length * scale) / scales.at(-1));
  return scales.reduce((sum, scale) => sum + side(height, scale) * side(width, scale), 0);
}

function toThree(value) {
  return String(Number(value.toPrecision(3)));
}

function showRatio(id, ratio) {
  const text = ratio >= 99.5 ? ratio.toFixed(0) : ratio.toFixed(1).replace(/\.0$/, "");
  element(`${id}-ratio`).textContent = text;
  // The tile covers the part of the square that the latent is of the picture.
  element(`${id}-glyph`).style.setProperty("--side", `${(100 * Math.min(1, 1 / Math.sqrt(ratio))).toFixed(2)}%`);
  return text;
}
