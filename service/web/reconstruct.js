// One picture through the tokenizer and back, or one saved latent to pixels, and the figures beside it.

import { call } from "./api.js";
import { paintChannels, paintCodes, paintMosaic, readLatent } from "./latents.js";
import { announce, clearError, element, setDownload, working } from "./page.js";
import { decodePicture, formatBytes, openPicture, stem } from "./pictures.js";
import { noteOnStage, setStageBusy, showPicture } from "./stage.js";

// What stands under each figure until it is known, as index.html says it.
const notes = Object.fromEntries(
  ["psnr-note", "values-note", "bytes-note", "latent-note"].map((id) => [id, element(id).textContent]),
);
const count = new Intl.NumberFormat("en", { useGrouping: true });

let current = null; // {blob, name, scalable}: what is being looked at
let running = new AbortController();

/** Encodes and reconstructs `blob` with what `tokenizer()` gives of /v1/models once `serverReady` resolves; a newer call
 * replaces it.
 *
 * A safetensors file, a latent or indices, is decoded instead. `scalable` pictures are made smaller first, as "Longest side" says. */
export async function lookAt({ blob, name, scalable = true }, { tokenizer, serverReady }) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  current = { blob, name, scalable };
  setStageBusy(true);
  const isLatent = /\.safetensors$/i.test(name);
  const longest = scalable ? Number(element("longest").value) : 0;
  const picture = isLatent ? { blob, name, canvas: null, scaledFrom: null } : await openPicture(blob, name, longest);
  if (signal.aborted) return;
  blankFigures();
  showPicture({ original: picture.canvas, words: wordsOf(picture) });
  noteOnStage(picture.canvas ? null : "Sending");
  try {
    await serverReady();
    if (signal.aborted) return;
    await working(() => (isLatent ? decode : exchange)(picture, tokenizer(), signal));
  } catch (error) {
    if (signal.aborted) return;
    running.abort(); // the other of the two requests is of no use any more
    noteOnStage(picture.canvas ? null : "Nothing to show. Choose another file.");
    throw error;
  } finally {
    if (running.signal === signal) setStageBusy(false);
  }
}

/** What is being looked at, to look at it again with another tokenizer or size; null before the first picture. */
export function currentPicture() {
  return current;
}

function ask(path, { blob }, { name }, signal, options = {}) {
  const query = new URLSearchParams({ model: name, ...options });
  return call(`v1/${path}?${query}`, { method: "POST", body: blob, signal });
}

async function exchange(picture, tokenizer, signal) {
  const asked = ["encode", "reconstruct"].map((path) => ask(path, picture, tokenizer, signal));
  if (tokenizer.codes) asked.push(ask("encode", picture, tokenizer, signal, { what: "indices", format: "png" }));
  const [encoded, decoded, coded] = await Promise.all(asked);
  const [latentFile, pictureFile] = await Promise.all([encoded.blob(), decoded.blob()]);
  const latent = readLatent(await latentFile.arrayBuffer());
  const reconstruction = await decodePicture(pictureFile);
  const codes = coded ? paintCodes(await decodePicture(await coded.blob())) : null;
  if (signal.aborted) return;
  showParts({ original: picture.canvas, reconstruction, latent, codes, words: wordsOf(picture) });
  const psnr = showFidelity(decoded.headers);
  const ratio = showSizes(latent, decoded.headers, reconstruction, tokenizer.codes);
  offerFiles(picture.name, latentFile, pictureFile);
  announce(`Reconstructed: ${psnr} decibels, ${ratio} times fewer values.`);
}

/** The way back alone: a latent or indices that were saved become pixels; there is no original to compare with. */
async function decode(file, tokenizer, signal) {
  const response = await ask("decode", file, tokenizer, signal);
  if (response.headers.get("content-type").startsWith("application/json")) {
    throw new Error("This file holds several latents. Give this page one with a single latent.");
  }
  const pictureFile = await response.blob();
  const latent = readLatent(await file.blob.arrayBuffer());
  const reconstruction = await decodePicture(pictureFile);
  if (signal.aborted) return;
  const words = `${file.name}, decoded to ${reconstruction.width} × ${reconstruction.height}`;
  showParts({ reconstruction, latent, words });
  offerFiles(file.name, file.blob, pictureFile);
  if (latent === null) {
    element("psnr-note").textContent = "Decoded from saved indices: there is no original to compare with.";
    announce("Decoded from indices.");
    return;
  }
  element("psnr-note").textContent = "Decoded from a saved latent: there is no original to compare with.";
  const ratio = showSizes(latent, response.headers, reconstruction, tokenizer.codes);
  announce(`Decoded: ${ratio} times fewer values.`);
}

function showParts({ latent, ...parts }) {
  noteOnStage(null);
  clearError();
  showPicture({ ...parts, latent: latent && paintMosaic(latent), channels: latent && paintChannels(latent) });
}

function offerFiles(name, latentFile, pictureFile) {
  setDownload(element("latent-download"), latentFile, `${stem(name)}.safetensors`, formatBytes(latentFile.size));
  setDownload(element("picture-download"), pictureFile, `${stem(name)}-reconstruction.png`, formatBytes(pictureFile.size));
}

function showFidelity(headers) {
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

function formatTime(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toPrecision(2)} s`;
  return `${Math.max(1, Math.round(milliseconds))} ms`;
}

/** Fills in both ratios, the shape and the bits; gives the ratio of values. */
function showSizes(latent, headers, picture, codes) {
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

function blankFigures() {
  for (const id of ["psnr", "values-ratio", "bytes-ratio", "latent-shape"]) element(id).textContent = "–";
  for (const [id, words] of Object.entries(notes)) element(id).textContent = words;
  for (const id of ["values-glyph", "bytes-glyph"]) element(id).style.setProperty("--side", "0%");
  for (const id of ["latent-download", "picture-download"]) setDownload(element(id), null);
}

function wordsOf({ name, blob, canvas, scaledFrom }) {
  if (canvas === null && /\.safetensors$/i.test(name)) return `${name}, ${formatBytes(blob.size)}`;
  if (canvas === null) return `${name}, ${formatBytes(blob.size)}. This browser cannot open it; the server may.`;
  const size = `${canvas.width} × ${canvas.height}`;
  const origin = scaledFrom ? `, made smaller from ${scaledFrom[1]} × ${scaledFrom[0]}` : "";
  return `${name}, ${size}${origin}`;
}
