// One card for each model: what it is, whose it is, what was measured, and whether it is loaded.

import { call } from "./api.js";
import { announce, asSentence, element, make, makeButton, working } from "./page.js";
import { formatBytes } from "./pictures.js";
import { offers, readModels, server } from "./server.js";

const LOAD = "/v1/models/{name}/load";
const UNLOAD = "/v1/models/{name}/unload";
const DEFAULT = "/v1/models/{name}/default";
/** Metrics as people call them. */
export const NAMED = {
  psnr: "PSNR, dB",
  ssim: "SSIM",
  ms_ssim: "MS-SSIM",
  lpips_vgg: "LPIPS (VGG)",
  lpips_alex: "LPIPS (AlexNet)",
  rfid: "rFID",
  fid: "FID",
};
let fail = () => {};

/** Call once; `onFailure(error)` hears what goes wrong with loading. */
export function connectModels(onFailure) {
  fail = onFailure;
}

/** Draws all cards from what the server said. */
export function showModelCards() {
  const models = [...server.tokenizers, ...server.generators];
  const { max_pixels: pixels, max_body_bytes: bytes, max_images: images } = server.limits;
  const { used_bytes: used = 0, budget_bytes: budget = null } = server.memory ?? {};
  const memory = used ? ` The loaded ones hold ${formatBytes(used)}${budget ? ` of ${formatBytes(budget)}` : ""} of memory.` : "";
  element("models-note").textContent =
    `${count(server.tokenizers.length, "tokenizer")}, ${count(server.generators.length, "generator")}. ` +
    `This server takes pictures up to ${(pixels / 1e6).toPrecision(3)} megapixels and ${formatBytes(bytes)}, ${images} in one request.${memory}`;
  const focused = document.activeElement?.getAttribute("aria-label"); // buttons are made anew
  element("models").replaceChildren(...models.map(cardOf));
  if (focused) [...element("models").querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === focused)?.focus();
}

function cardOf(model) {
  const { name, kind, default: usual, state } = model;
  const title = make("div", {}, {}, [
    make("h2", { textContent: name }),
    make("p", { className: "kind", textContent: `${usual ? "the default " : ""}${kind}` }),
  ]);
  const head = make("div", { className: "card-head" }, {}, [title]);
  if (state) head.append(make("span", { className: "badge", textContent: state }, { "data-state": state }));
  const parts = [head, ...measured(model.figures), make("dl", { className: "facts" }, {}, factsOf(model).flatMap(row))];
  if (model.error) parts.push(make("p", { className: "job-error", textContent: asSentence(model.error) }));
  const tools = toolsOf(model);
  if (tools.length > 0) parts.push(make("div", { className: "card-tools" }, {}, tools));
  return make("li", { className: "card" }, {}, parts);
}

function row([term, value]) {
  const shown = value instanceof Node ? value : document.createTextNode(value);
  return [make("dt", { textContent: term }), make("dd", {}, {}, [shown])];
}

function factsOf(model) {
  const facts = model.kind === "tokenizer" ? ofTokenizer(model) : ofGenerator(model);
  if (model.family && model.family !== "tessera") facts.push(["Made by", model.family]);
  facts.push(["Weights", formatBytes(model.weights_bytes)]);
  if (model.memory_bytes) facts.push(["In memory", formatBytes(model.memory_bytes)]);
  facts.push(["Licence", model.licence ?? "not stated"]);
  if (model.figures?.num_images) facts.push(["Measured on", `${model.figures.num_images.toLocaleString("en")} pictures${model.figures.protocol ? `, ${model.figures.protocol}` : ""}`]);
  if (typeof model.figures?.trained === "string") facts.push(["Trained", model.figures.trained]);
  facts.push(["Spec", make("code", { textContent: model.spec_id })]);
  return facts;
}

function ofTokenizer({ spec, codes }) {
  const facts = spec.parts.map((part) => {
    const where = part.layout === "1d" ? `${part.num_tokens ?? "some"} tokens` : `1/${part.spatial_factor} of each side`;
    const time = part.temporal_factor > 1 ? `, 1/${part.temporal_factor} of the frames` : "";
    return [spec.parts.length > 1 ? `Part ${part.name}` : "Latent", `${part.channels} channels, ${where}${time}`];
  });
  if (codes) facts.push(["Codes", `${codes.codebook_size.toLocaleString("en")}, ${Number(codes.bits_per_index.toPrecision(3))} bits each`]);
  const [{ layout, channels, spatial_factor: factor }] = spec.parts;
  if (layout === "2d") facts.push(["Fewer values", `${Number(((3 * factor * factor) / channels).toPrecision(3))}×`]);
  return facts;
}

function ofGenerator({ tokenizer, class_names: names, sizes, num_steps: steps, guidance }) {
  const facts = [["Makes", names?.length ? `${names.length} classes: ${shorten(names)}` : "what a prompt says"]];
  facts.push(["Sizes", sizes.map(([height, width]) => `${width} × ${height}`).join(", ")]);
  facts.push(["Usually", `${steps} steps, guidance ${guidance}`]);
  if (tokenizer) facts.push(["Tokenizer", tokenizer]);
  return facts;
}

function shorten(names) {
  return names.length <= 12 ? names.join(", ") : `${names.slice(0, 10).join(", ")} and ${names.length - 10} more`;
}

/** The figures that the model's folder carries, as numbers; whatever else it says is left to the API. */
function measured(figures) {
  const source = figures?.metrics ?? figures ?? {};
  const shown = Object.entries(source)
    .map(([name, value]) => [name, typeof value === "number" ? value : value?.value])
    .filter(([name, value]) => typeof value === "number" && name !== "num_images");
  if (shown.length === 0) return [];
  return [make("div", { className: "figures-row" }, {}, shown.slice(0, 6).map(([name, value]) => make("div", {}, {}, [
    make("b", { textContent: Number(value.toPrecision(4)) }),
    make("span", { textContent: NAMED[name] ?? name }),
  ])))];
}

function toolsOf({ name, kind, state, default: usual }) {
  const tools = [];
  const act = (words, path, done) => makeButton(words, () => {
    change(path.replace("{name}", encodeURIComponent(name)), kind, `${name} ${done}.`).catch(fail);
  }, { label: `${words}: ${kind} ${name}` });
  if (offers("post", LOAD) && ["unloaded", "failed"].includes(state)) tools.push(act("Load", LOAD, "is loaded"));
  if (offers("post", UNLOAD) && state === "loaded") tools.push(act("Unload", UNLOAD, "is unloaded"));
  const several = server[kind === "tokenizer" ? "tokenizers" : "generators"].length > 1;
  if (offers("post", DEFAULT) && several && !usual) tools.push(act("Make default", DEFAULT, "is the default"));
  return tools;
}

async function change(path, kind, words) {
  await working(async () => {
    await call(`${path.slice(1)}?${new URLSearchParams({ kind })}`, { method: "POST" });
    await readModels();
  });
  announce(words);
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
