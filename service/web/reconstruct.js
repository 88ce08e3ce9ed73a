// One picture through the tokenizer and back, or one saved latent to pixels.

import { call } from "./api.js";
import { isClip, showClips } from "./clips.js";
import {
  blankFigures, explainNoFidelity, offerClip, offerLatent, offerPicture, showClipSizes, showFidelity, showSizes,
} from "./figures.js";
import { paintChannels, paintCodes, paintMosaic, readLatent } from "./latents.js";
import { announce, clearError, element, fillSelect, working } from "./page.js";
import { decodePicture, formatBytes, openPicture } from "./pictures.js";
import { remember } from "./router.js";
import { parametersOf, server, serverReady } from "./server.js";
import { chooseView, noteOnStage, setStageBusy, showCodesFrame, showPicture } from "./stage.js";

let current = null; // {blob, name, scalable}: what is being looked at
let sent = null; // {picture, tokenizer, latentFile, signal} of the last picture that came back
let running = new AbortController();
let linked = new URLSearchParams(); // what the address asked for before the models were known

/** Takes the settings of the address: `view`, `model`, `longest`. */
export function arriveAtReconstruct(settings) {
  linked = settings;
  if (settings.has("view")) chooseView(settings.get("view"));
  const longest = element("longest");
  if ([...longest.options].some(({ value }) => value === settings.get("longest"))) longest.value = settings.get("longest");
  if (server.limits) showTokenizers();
}

/** Writes the view's settings into the address. */
export function rememberReconstruct() {
  const view = document.querySelector('input[name="view"]:checked').value;
  const entry = chosenTokenizer();
  remember("reconstruct", {
    view: view === "compare" ? null : view,
    model: entry && !entry.default ? entry.name : null,
    longest: element("longest").value === "512" ? null : element("longest").value,
  });
}

/** Fills the choice of tokenizers from the models that the server has; keeps what was chosen. */
export function showTokenizers() {
  const { tokenizers } = server;
  const named = [element("tokenizer").value, linked.get("model")].map((wanted) => tokenizers.find(({ name }) => name === wanted));
  const chosen = (linked.has("model") && named[1]) || named[0] || tokenizers.find((entry) => entry.default) || tokenizers[0];
  linked = new URLSearchParams();
  fillSelect(element("tokenizer"), tokenizers.map(({ name }) => [name, name]), chosen?.name);
  describeTokenizer();
}

/** The tokenizer that pictures go through, as /v1/models tells it. */
export function chosenTokenizer() {
  return server.tokenizers.find(({ name }) => name === element("tokenizer").value);
}

/** What is said of the chosen tokenizer, and whether there are codes to see. */
export function describeTokenizer() {
  const entry = chosenTokenizer();
  showCodesFrame(Boolean(entry?.codes));
  const part = entry?.spec.parts[0];
  if (!part) return;
  const words = [`${part.channels} channels at 1/${part.spatial_factor} of each side`];
  if (entry.codes) {
    const { codebook_size: size, num_codebooks: books } = entry.codes;
    words.push(`${size.toLocaleString("en")} codes${books > 1 ? ` in each of ${books} codebooks` : ""}`);
  }
  if (entry.licence) words.push(entry.licence.replaceAll("-", "\u2011")); // not broken at its hyphens
  if (entry.weights_bytes) words.push(`${(entry.weights_bytes / 1e6).toPrecision(3)} MB of weights`);
  element("model-note").textContent = `${entry.name}: ${words.join(", ")}.`;
}

/** Encodes and reconstructs `blob` with the chosen tokenizer once the server is ready; a newer call replaces it.
 *
 * A safetensors file, a latent or indices, is decoded instead. `scalable` pictures are made smaller first, as "Longest side" says. */
export async function lookAt({ blob, name, scalable = true }) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  current = { blob, name, scalable };
  sent = null;
  showClips(null, null);
  setStageBusy(true);
  const isLatent = /\.safetensors$/i.test(name);
  const longest = scalable ? Number(element("longest").value) : 0;
  const picture = isLatent ? { blob, name, canvas: null, scaledFrom: null } : await openPicture(blob, name, longest);
  if (signal.aborted) return;
  blankFigures();
  element("latent-dtype").disabled = true;
  showPicture({ original: picture.canvas, words: wordsOf(picture) });
  noteOnStage(picture.canvas ? null : "Sending");
  try {
    await serverReady((unreachable) => {
      noteOnStage(unreachable ? "Waiting for the server." : "The server is loading its model. This picture is next.");
    });
    if (signal.aborted) return;
    noteOnStage(picture.canvas ? null : "Sending");
    if (isClip(blob, name, chosenTokenizer()?.spec.time)) {
      await working(() => exchangeClip(blob, name, chosenTokenizer(), signal));
      return;
    }
    await working(() => (isLatent ? decode : exchange)(picture, chosenTokenizer(), signal));
  } catch (error) {
    if (signal.aborted) return;
    running.abort(); // the other of the two requests is of no use any more
    noteOnStage(picture.canvas ? null : "Nothing to show. Choose another file.");
    throw error;
  } finally {
    if (running.signal === signal) setStageBusy(false);
  }
}

/** Offers the latent as a file of the elements that are chosen. */
export async function renewLatentFile() {
  element("latent-dtype-field").hidden = !parametersOf("post", "/v1/encode").includes("dtype");
  element("latent-dtype").disabled = sent === null;
  if (sent === null) return;
  const { picture, tokenizer, latentFile, signal } = sent;
  const dtype = element("latent-dtype").value;
  const file = dtype === "float32" ? latentFile : await (await ask("encode", picture, tokenizer, signal, { dtype })).blob();
  if (!signal.aborted) offerLatent(picture.name, file, dtype);
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
  offerPicture(picture.name, pictureFile);
  sent = { picture, tokenizer, latentFile, signal };
  await renewLatentFile();
  announce(`Reconstructed: ${psnr} decibels, ${ratio} times fewer values.`);
}

/** A video goes through whole, as it is, and comes back as one. */
async function exchangeClip(blob, name, tokenizer, signal) {
  noteOnStage("The video is on its way through the network");
  const response = await ask("reconstruct", { blob }, tokenizer, signal);
  const video = await response.blob();
  if (signal.aborted) return;
  clearError();
  noteOnStage(null);
  showPicture({ words: `${name}, ${response.headers.get("x-tessera-frame-rate")} frames a second` });
  showClips(blob, video);
  const psnr = showFidelity(response.headers);
  const ratio = showClipSizes(response.headers);
  offerClip(name, video);
  announce(`Reconstructed: ${psnr} decibels, ${ratio} times fewer bytes.`);
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
  offerPicture(file.name, pictureFile);
  offerLatent(file.name, file.blob);
  if (latent === null) {
    explainNoFidelity("Decoded from saved indices: there is no original to compare with.");
    announce("Decoded from indices.");
    return;
  }
  explainNoFidelity("Decoded from a saved latent: there is no original to compare with.");
  const ratio = showSizes(latent, response.headers, reconstruction, tokenizer.codes);
  announce(`Decoded: ${ratio} times fewer values.`);
}

function showParts({ latent, ...parts }) {
  noteOnStage(null);
  clearError();
  const mosaic = latent && paintMosaic(latent);
  showPicture({
    ...parts,
    latent: mosaic && mosaic.canvas,
    shares: mosaic && mosaic.shares,
    channels: latent && paintChannels(latent),
  });
}

function wordsOf({ name, blob, canvas, scaledFrom }) {
  if (canvas === null && /\.safetensors$/i.test(name)) return `${name}, ${formatBytes(blob.size)}`;
  if (canvas === null) return `${name}, ${formatBytes(blob.size)}. This browser cannot open it; the server may.`;
  const size = `${canvas.width} × ${canvas.height}`;
  const origin = scaledFrom ? `, made smaller from ${scaledFrom[1]} × ${scaledFrom[0]}` : "";
  return `${name}, ${size}${origin}`;
}
