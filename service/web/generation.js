// Asks for generated pictures: one request each, so that every tile has its own previews and the server's steps batch them.

import { call, ServerError } from "./api.js";
import { eventsOf } from "./events.js";
import { blobOf } from "./pictures.js";
import { fieldsOf, offers } from "./server.js";

const EDITS = "/v1/images/edits";
const PARTIALS = 3; // previews of a picture on its way, the most that the interface has
const AT_ONCE = 4; // a browser opens six connections to one server; two are left for everything else

/** Asks for pictures, a few at a time; all of them are given up when one fails or `signal` fires.
 *
 * `wanted` are bodies of /v1/generate, one picture each; `start` is a picture to start from, or null.
 * `onStep(place, {step, numSteps, preview})` hears of progress, `onPicture(place, blob, seed)` gets each picture.
 * Throws what `call` throws. */
export async function generateAll(wanted, start, { signal, onStep, onPicture }) {
  const stop = new AbortController();
  const forward = () => stop.abort();
  signal.addEventListener("abort", forward, { once: true });
  const waiting = [...wanted.entries()];
  const worker = async () => {
    while (waiting.length > 0) {
      const [place, body] = waiting.shift();
      const tell = (step) => onStep(place, step);
      const { blob, seed } = await (start ? generateFrom(start, body, stop.signal, tell) : generateOne(body, stop.signal, tell));
      onPicture(place, blob, seed);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, wanted.length) }, worker));
  } finally {
    stop.abort();
    signal.removeEventListener("abort", forward);
  }
}

/** Whether the server starts from pictures. */
export function startsFromPictures() {
  return offers("post", EDITS);
}

/** The latent of a class and a seed as a safetensors file. */
export async function generateLatent(body, signal) {
  return (await post({ ...body, output: "latent" }, signal)).blob();
}

/** One picture from noise, `{blob, seed}`, with progress where the server streams it. */
async function generateOne(body, signal, onStep) {
  if (!("stream" in fieldsOf("GenerateRequest"))) {
    const response = await post(body, signal);
    return { blob: await response.blob(), seed: Number(response.headers.get("x-tessera-seed")) };
  }
  const response = await post({ ...body, stream: true }, signal);
  for await (const { event, data } of eventsOf(response)) {
    const step = { step: data.step, numSteps: data.num_steps, preview: null };
    if (event === "progress") onStep(step);
    else if (event === "preview") onStep({ ...step, preview: blobOf(data.b64, data.media_type) });
    else if (event === "error") throw failureOf(data);
    else if (event === "result") return { blob: blobOf(data.data[0].b64, data.media_type), seed: data.seed };
  }
  throw cutShort(signal);
}

/** One picture from another, `{blob, seed}`: OpenAI's edits, with this server's extensions. */
async function generateFrom({ picture, mask, strength }, body, signal, onStep) {
  const { label, prompt, size, output, ...same } = body; // model, num_steps, guidance, seed, negative_prompt
  const fields = {
    ...same,
    prompt: prompt ?? String(label),
    size: `${size[1]}x${size[0]}`,
    output_format: output,
    strength,
    stream: true,
    partial_images: PARTIALS,
  };
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, String(value));
  form.append("image", picture, "image.png");
  if (mask) form.append("mask", mask, "mask.png");
  const response = await call(EDITS.slice(1), { method: "POST", body: form, signal });
  for await (const { event, data } of eventsOf(response)) {
    if (data.error) throw failureOf(data);
    const blob = blobOf(data.b64_json, `image/${data.output_format ?? output}`);
    if (event.endsWith(".completed")) return { blob, seed: data.seed };
    onStep({ step: data.partial_image_index + 1, numSteps: PARTIALS + 1, preview: blob });
  }
  throw cutShort(signal);
}

function post(body, signal) {
  return call("v1/generate", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
    signal,
  });
}

function failureOf({ error: { message, code } }) {
  return new ServerError(message, { status: 500, code });
}

function cutShort(signal) {
  signal.throwIfAborted();
  return new ServerError("The server ended its answer before the picture was there. Generate it again.", { status: 500, code: "cut_short" });
}
