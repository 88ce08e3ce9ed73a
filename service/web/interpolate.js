// The way from one latent to another, decoded step by step.

import { call } from "./api.js";
import { arriveAtEnds, connectEnds, describeEnds, latentsOfEnds, modelOfEnds, namesOfEnds, rememberEnds } from "./ends.js";
import { alongArc, alongLine, between, slice } from "./mixing.js";
import { announce, clearError, element, make, reveal, setDownload, working } from "./page.js";
import { blobOf, decodePicture, formatBytes, sheetOf, toPng } from "./pictures.js";
import { server, serverReady } from "./server.js";
import { writeTensors } from "./safetensors.js";

const PLAY_MS = 220;
let frames = []; // {url, blob}, in order
let running = null;
let playing = null;

/** Connects the panel. Call once. */
export function connectInterpolation(onFailure) {
  connectEnds({ onFailure, onChange: () => describe() });
  showEmptyStrip();
  element("mix-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else interpolate().catch(onFailure);
  });
  element("mix-place").addEventListener("input", () => {
    stopPlaying();
    show(Number(element("mix-place").value));
  });
  element("mix-play").addEventListener("click", () => (playing ? stopPlaying() : play()));
}

/** Takes the settings of the address: `a` and `b` as label:seed, `way`, `count`. */
export function arriveAtInterpolate(settings) {
  for (const [name, id] of [["way", "mix-way"], ["count", "mix-count"]]) {
    if ([...element(id).options].some(({ value }) => value === settings.get(name))) element(id).value = settings.get(name);
  }
  arriveAtEnds(settings);
  describe();
}

/** What the panel says about the models that take part; called when they are read. */
export function describe() {
  if (!server.limits) return;
  describeEnds();
  const { tokenizer, side } = modelOfEnds();
  element("mix-side-field").hidden = side !== null;
  element("mix-model").textContent = tokenizer ? `In the latent space of ${tokenizer}.` : "\u00a0";
}

async function interpolate() {
  running = new AbortController();
  const { signal } = running;
  setRunning(true);
  try {
    await serverReady();
    const count = Number(element("mix-count").value);
    const way = element("mix-way").value === "arc" ? alongArc : alongLine;
    const made = await working(async () => {
      const { tensors, metadata, tokenizer } = await latentsOfEnds(signal);
      const path = between(...tensors, count, way);
      setDownload(element("mix-save-latents"), null);
      const file = new Blob([writeTensors(path, metadata)]);
      return { blobs: await decodeAll(path, count, metadata, tokenizer, signal), file };
    });
    await showWay(made, count);
    clearError();
    rememberEnds({ way: element("mix-way").value === "arc" ? null : "line", count: count === 9 ? null : count });
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    element("mix-note").textContent = "Stopped.";
  } finally {
    running = null;
    setRunning(false);
  }
}

/** Pictures of a batch of latents, as many in one request as the server takes. */
async function decodeAll(path, count, metadata, tokenizer, signal) {
  const most = Math.max(1, server.limits.max_images);
  const blobs = [];
  for (let from = 0; from < count; from += most) {
    const to = Math.min(count, from + most);
    const body = writeTensors(slice(path, from, to), metadata);
    const response = await call(`v1/decode?${new URLSearchParams({ model: tokenizer })}`, { method: "POST", body, signal });
    if (to - from === 1) {
      blobs.push(await response.blob());
      continue;
    }
    const { data, media_type: type } = await response.json();
    blobs.push(...data.map(({ b64 }) => blobOf(b64, type)));
    element("mix-note").textContent = `${blobs.length} of ${count}`;
  }
  return blobs;
}

async function showWay({ blobs, file }, count) {
  for (const { url } of frames) URL.revokeObjectURL(url);
  frames = blobs.map((blob) => ({ blob, url: URL.createObjectURL(blob) }));
  element("mix-strip").replaceChildren(...frames.map(({ url }, index) => {
    const button = make("button", { type: "button" }, { "aria-label": `Picture ${index + 1} of ${count}` }, [make("img", { src: url, alt: "" })]);
    button.addEventListener("click", () => {
      stopPlaying();
      show(index);
    });
    return button;
  }));
  element("mix-place").max = String(count - 1);
  element("mix-empty").hidden = true;
  element("mix-picture").hidden = false;
  element("mix-walk").hidden = false;
  show(Math.floor((count - 1) / 2));
  const [from, to] = namesOfEnds();
  const words = `${count} pictures from ${from} to ${to}, ${element("mix-way").selectedOptions[0].textContent}.`;
  element("mix-note").textContent = words;
  announce(words);
  const strip = await toPng(sheetOf(await Promise.all(blobs.map(decodePicture)), count, 4));
  offer("mix-save-strip", strip, "interpolation.png");
  offer("mix-save-latents", file, "interpolation.safetensors");
}

/** Tiles where the pictures will be, from one glaze to the other. */
function showEmptyStrip() {
  element("mix-strip").replaceChildren(...Array.from({ length: 9 }, (_, index) => {
    const tile = make("span", { className: "mix-tile" }, { "aria-hidden": "true" });
    tile.style.setProperty("--t", `${(100 * index) / 8}%`);
    return tile;
  }));
}

function offer(id, blob, name) {
  setDownload(element(id), blob, name, formatBytes(blob.size));
  element(id).hidden = false;
}

function show(index) {
  const percent = Math.round((100 * index) / Math.max(1, frames.length - 1));
  element("mix-picture").src = frames[index].url;
  element("mix-picture").alt = `The picture at ${percent} % of the way`;
  element("mix-place").value = String(index);
  element("mix-place").setAttribute("aria-valuetext", `${percent} %`);
  element("mix-place-value").textContent = `${percent} %`;
  [...element("mix-strip").children].forEach((button, place) => button.setAttribute("aria-current", String(place === index)));
}

function play() {
  let direction = 1;
  playing = setInterval(() => {
    const index = Number(element("mix-place").value);
    if (index + direction < 0 || index + direction >= frames.length) direction = -direction;
    show(index + direction);
  }, PLAY_MS);
  element("mix-play").textContent = "Pause";
  element("mix-play").setAttribute("aria-pressed", "true");
}

function stopPlaying() {
  clearInterval(playing);
  playing = null;
  element("mix-play").textContent = "Play";
  element("mix-play").setAttribute("aria-pressed", "false");
}

function setRunning(on) {
  if (on) {
    stopPlaying();
    reveal(element("mix-frame").closest(".outcome"));
  }
  element("mix-button").textContent = on ? "Stop" : "Interpolate";
  element("mix-frame").setAttribute("aria-busy", String(on));
}
