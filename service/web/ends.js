// The two ends of an interpolation: each is a class and a seed, or a picture.

import { call } from "./api.js";
import { generateLatent } from "./generation.js";
import { element, fillSelect, randomSeed, readSeed } from "./page.js";
import { cover, openPicture, paintThumb, toPng } from "./pictures.js";
import { chosenTokenizer } from "./reconstruct.js";
import { remember } from "./router.js";
import { readTensors } from "./safetensors.js";
import { server } from "./server.js";

const ENDS = [["a", "From"], ["b", "To"]];
const ends = {}; // by letter: the fieldset, and the picture once there is one
let linked = new URLSearchParams();
let onChange = () => {};
let onFailure = () => {};

/** Builds both ends. Call once. */
export function connectEnds(hooks) {
  ({ onChange, onFailure } = hooks);
  for (const [index, [letter, legend]] of ENDS.entries()) {
    const box = element("end-template").content.firstElementChild.cloneNode(true);
    box.id = `end-${letter}`;
    box.querySelector("legend").textContent = legend;
    ends[letter] = { box, picture: null, name: "" };
    for (const radio of box.querySelectorAll('input[type="radio"]')) {
      radio.name = `kind-${letter}`;
      radio.checked = radio.value === "seed";
      radio.addEventListener("change", onChange);
    }
    box.querySelector(".end-seed").value = String(index + 1);
    box.querySelector(".end-file").setAttribute("aria-label", `Choose the picture: ${legend}`);
    box.querySelector(".end-choose").addEventListener("click", () => box.querySelector(".end-file").click());
    box.querySelector(".end-file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) setEndPicture(letter, file, file.name).catch(onFailure);
      event.target.value = "";
    });
    element("ends").append(box);
  }
}

/** Makes a picture an end: `letter`, or the first end that has none. */
export async function setEndPicture(letter, blob, name) {
  const free = ENDS.map(([each]) => each).find((each) => !ends[each].picture);
  const end = ends[letter ?? free ?? "b"];
  const { canvas } = await openPicture(blob, name, 0);
  if (canvas === null) throw new Error("This browser cannot open that file. Choose a PNG, JPEG or WebP picture.");
  Object.assign(end, { picture: canvas, name });
  paintThumb(end.box.querySelector(".end-thumb"), canvas);
  end.box.querySelector(".end-name").textContent = name;
  choose(end, "picture");
  onChange();
}

/** The end at a place of the page, or null. */
export function endAt(target) {
  return ENDS.map(([letter]) => letter).find((letter) => ends[letter].box.contains(target)) ?? null;
}

/** Makes a class and a seed of `model` an end. */
export function setEndSeed(letter, label, seed) {
  choose(ends[letter], "seed");
  ends[letter].box.querySelector(".end-label").value = String(label);
  ends[letter].box.querySelector(".end-seed").value = String(seed);
  onChange();
}

/** Takes `a` and `b` of the address, each label:seed. */
export function arriveAtEnds(settings) {
  if (settings.has("a") || settings.has("b")) linked = settings;
}

/** Writes both ends into the address, those that are seeds. */
export function rememberEnds(settings) {
  const written = ENDS.map(([letter]) => {
    const { box } = ends[letter];
    return [letter, kindOf(letter) === "seed" ? `${box.querySelector(".end-label").value}:${box.querySelector(".end-seed").value}` : null];
  });
  remember("interpolate", { ...Object.fromEntries(written), ...settings });
}

/** Fills the classes and shows what each end needs; without a generator only pictures are offered. */
export function describeEnds() {
  const generator = generatorOf();
  for (const [letter] of ENDS) {
    const { box } = ends[letter];
    const labels = box.querySelector(".end-label");
    if (generator && labels.options.length !== generator.class_names.length) {
      const other = letter === "a" ? 0 : Math.min(1, generator.class_names.length - 1); // two classes to begin with
      fillSelect(labels, generator.class_names.map((name, index) => [index, name]), labels.value || other);
    }
    const link = /^(\d+):(\d+)$/.exec(linked.get(letter) ?? "");
    if (generator && link) {
      choose(ends[letter], "seed");
      [labels.value, box.querySelector(".end-seed").value] = [link[1], link[2]];
    }
    box.querySelector(".segmented").hidden = !generator;
    if (!generator) choose(ends[letter], "picture");
    box.querySelector(".of-seed").hidden = kindOf(letter) !== "seed";
    box.querySelector(".of-picture").hidden = kindOf(letter) !== "picture";
  }
  if (generator) linked = new URLSearchParams();
}

/** `{tokenizer, side}`: the tokenizer's name, and [height, width] where a generator decides it, else null. */
export function modelOfEnds() {
  const generator = ENDS.some(([letter]) => kindOf(letter) === "seed") ? generatorOf() : null;
  if (generator) return { tokenizer: generator.tokenizer, side: generator.sizes[0], generator };
  return { tokenizer: chosenTokenizer()?.name, side: null, generator: null };
}

/** What the ends are called. */
export function namesOfEnds() {
  return ENDS.map(([letter]) => {
    const { box, name } = ends[letter];
    if (kindOf(letter) === "picture") return name;
    return `${box.querySelector(".end-label").selectedOptions[0].textContent} (seed ${box.querySelector(".end-seed").value})`;
  });
}

/** The latents of both ends: `tensors` of each, the `metadata` that a decoder needs, the `tokenizer`.
 *
 * Throws an Error that says what is missing. */
export async function latentsOfEnds(signal) {
  const { tokenizer, side, generator } = modelOfEnds();
  const size = side ?? [element("mix-side").value, element("mix-side").value].map(Number);
  const files = await Promise.all(ENDS.map(([letter, legend]) => (
    kindOf(letter) === "seed" ? ofSeed(ends[letter], generator, signal) : ofPicture(ends[letter], legend, tokenizer, size, signal)
  )));
  const read = await Promise.all(files.map(async (file) => readTensors(await file.arrayBuffer())));
  const [{ metadata }] = read;
  return {
    tensors: read.map(({ tensors }) => tensors),
    metadata: { size: metadata.size, spec_id: metadata.spec_id },
    tokenizer,
  };
}

function ofSeed({ box }, generator, signal) {
  const seed = readSeed(box.querySelector(".end-seed"));
  if (seed === undefined) throw new Error("The seed is a whole number from 0 to 9007199254740991.");
  const label = Number(box.querySelector(".end-label").value);
  return generateLatent({ model: generator.name, label, seed: seed ?? randomSeed(), size: generator.sizes[0] }, signal);
}

async function ofPicture({ box, picture }, legend, tokenizer, [height, width], signal) {
  if (!picture) {
    box.querySelector(".end-choose").focus();
    throw new Error(`There is no picture at "${legend}". Choose one, or take a seed.`);
  }
  const body = await toPng(cover(picture, width, height));
  const response = await call(`v1/encode?${new URLSearchParams({ model: tokenizer })}`, { method: "POST", body, signal });
  return response.blob();
}

function generatorOf() {
  const classed = server.generators.filter(({ class_names: names, tokenizer }) => names?.length && tokenizer);
  return classed.find((entry) => entry.default) ?? classed[0] ?? null;
}

function kindOf(letter) {
  return ends[letter].box.querySelector('input[type="radio"]:checked').value;
}

function choose({ box }, kind) {
  box.querySelector(`input[value="${kind}"]`).checked = true;
}
