// The generator's panel: what to make, from which seeds, and from which picture.

import { fitStart, setStart, startOf } from "./easel.js";
import { generateAll, startsFromPictures } from "./generation.js";
import { announce, clearError, element, fillSelect, randomSeed, readSeed, reveal, showError, working } from "./page.js";
import { stem } from "./pictures.js";
import { offerStart } from "./result.js";
import { dropPreviews, layTiles, offerGrid, showResult, showStep } from "./results.js";
import { remember } from "./router.js";
import { server } from "./server.js";

const EACH = "each";
const COUNTS = [1, 2, 4, 6, 8, 9, 12, 16, 24, 32];
const MOST_CLASSES = 16; // "one of each" is offered up to here

let wanted = 6; // pictures of one class
let linked = new URLSearchParams();
let open = () => {};
let running = null;
let lastSeed = null;
let described = ""; // the generator whose settings are shown

/** Connects the panel's controls; `onResult(result)` opens a picture that was made. Call once. */
export function connectGenerator({ onFailure, onResult }) {
  open = onResult;
  layTiles(wanted, [1, 1]);
  element("generator").addEventListener("change", showGenerator);
  for (const id of ["steps", "guidance"]) element(id).addEventListener("input", showNumbers);
  element("count").addEventListener("change", () => { wanted = Number(element("count").value); });
  for (const id of ["label", "count", "size"]) element(id).addEventListener("change", blankResults);
  element("size").addEventListener("change", () => fitStart(chosenSize()));
  element("random-seed").addEventListener("click", () => { element("seed").value = String(randomSeed()); });
  element("keep-seed").addEventListener("click", () => {
    element("seed").value = String(lastSeed);
    element("seed").focus();
    rememberGenerate();
  });
  element("start-choose").addEventListener("click", () => element("start-file").click());
  element("start-file").addEventListener("change", () => {
    const [file] = element("start-file").files;
    if (file) setStart(file, file.name).catch(onFailure);
    element("start-file").value = "";
  });
  element("generate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else generate().catch(onFailure);
  });
}

/** Takes the settings of the address: `model`, `label`, `prompt`, `seed`, `count`, `steps`, `guidance`, `size`. */
export function arriveAtGenerate(settings) {
  linked = settings;
  if (settings.size > 0 && server.generators.length > 0) showGenerators();
}

/** Fills the panel from the generators that the server has. */
export function showGenerators() {
  const { generators, limits } = server;
  if (generators.length === 0) return;
  const named = [linked.get("model"), element("generator").value].map((name) => generators.find((entry) => entry.name === name));
  const chosen = named.find(Boolean) ?? generators.find((entry) => entry.default) ?? generators[0];
  fillSelect(element("generator"), generators.map(({ name }) => [name, name]), chosen.name);
  element("generator-field").hidden = generators.length < 2;
  element("steps").max = String(Math.min(100, limits.max_steps));
  element("guidance").max = String(Math.min(10, limits.max_guidance));
  // Read anew after a model was loaded, the same generator keeps its settings and its pictures.
  if (identityOf(chosen) !== described || linked.size > 0) showGenerator();
}

function showGenerator() {
  described = identityOf(selected());
  const { class_names: names, sizes, num_steps: steps, guidance, takes, default: usual, name } = selected();
  const prompted = !names?.length;
  element("label-field").hidden = prompted;
  element("prompt-field").hidden = !prompted;
  element("guidance-field").hidden = !takesGuidance();
  element("negative-field").hidden = !prompted || !takes?.includes("negative_prompt");
  element("prompt").required = prompted;
  const classes = (names ?? []).map((each, index) => [index, each]);
  const offersEach = classes.length > 1 && classes.length <= MOST_CLASSES;
  fillSelect(element("label"), offersEach ? [[EACH, "One of each"], ...classes] : classes);
  fillSelect(element("size"), sizes.map(([height, width]) => [`${height},${width}`, `${width} × ${height}`]));
  element("size-field").hidden = sizes.length < 2;
  element("steps").value = String(steps ?? 20);
  element("guidance").value = String(guidance ?? 3);
  element("start").hidden = !startsFromPictures();
  offerStart(startsFromPictures());
  applyLink();
  showNumbers();
  fitStart(chosenSize());
  blankResults();
  if (!usual) rememberGenerate({ model: name });
}

function applyLink() {
  const choices = { label: "label", size: "size", prompt: "prompt", negative: "negative", seed: "seed", steps: "steps", guidance: "guidance" };
  for (const [name, id] of Object.entries(choices)) {
    if (!linked.has(name)) continue;
    const control = element(id);
    const known = control.tagName !== "SELECT" || [...control.options].some(({ value }) => value === linked.get(name));
    if (known) control.value = linked.get(name);
  }
  if (linked.has("count")) wanted = Number(linked.get("count"));
  linked = new URLSearchParams();
}

function rememberGenerate(settings = {}) {
  const entry = selected();
  remember("generate", {
    model: entry.default ? null : entry.name,
    label: entry.class_names?.length && element("label").value !== EACH ? element("label").value : null,
    prompt: entry.class_names?.length ? null : element("prompt").value,
    count: wanted === 6 ? null : wanted,
    steps: Number(element("steps").value) === entry.num_steps ? null : element("steps").value,
    guidance: Number(element("guidance").value) === entry.guidance ? null : element("guidance").value,
    seed: element("seed").value,
    ...settings,
  });
}

function selected() {
  return server.generators.find(({ name }) => name === element("generator").value) ?? server.generators[0];
}

function identityOf({ name, spec_id: spec, default: usual }) {
  return [name, spec, usual, startsFromPictures()].join("/");
}

function takesGuidance() {
  return selected().takes?.includes("guidance") ?? true;
}

function chosenSize() {
  return element("size").value.split(",").map(Number);
}

function showNumbers() {
  element("steps-value").textContent = element("steps").value;
  element("guidance-value").textContent = Number(element("guidance").value).toFixed(1);
}

/** Replaces the results by as many empty tiles as the next ones will need. */
function blankResults() {
  if (running) return;
  const each = element("label").value === EACH;
  const choices = each ? [selected().class_names.length] : COUNTS;
  if (!each && !choices.includes(wanted)) wanted = choices.filter((count) => count <= Math.max(1, wanted || 1)).at(-1);
  fillSelect(element("count"), choices.map((choice) => [choice, choice]), wanted);
  element("count").disabled = each;
  layTiles(Number(element("count").value), chosenSize());
  element("generate-note").textContent = "\u00a0";
  element("keep-seed").hidden = true;
}

async function generate() {
  const typed = readSeed(element("seed"));
  if (typed === undefined) return;
  const prompted = !element("prompt-field").hidden;
  if (prompted && element("prompt").value.trim() === "") {
    showError("The prompt is empty. Say what the picture should show.");
    element("prompt").focus();
    return;
  }
  blankResults();
  running = new AbortController();
  setRunning(true);
  const started = performance.now();
  const seed = typed ?? randomSeed();
  try {
    const bodies = requestsOf(seed);
    const start = startsFromPictures() ? await startOf() : null;
    let done = 0;
    await working(() => generateAll(bodies, start, {
      signal: running.signal,
      onStep: showStep,
      onPicture: (place, blob, used) => {
        done += 1;
        showResult(place, resultOf(bodies[place], blob, used, start !== null), open);
        element("generate-note").textContent = `${done} of ${bodies.length}`;
      },
    }));
    await tellDone(seed, bodies.length, started);
  } catch (error) {
    element("generate-note").textContent = error.name === "AbortError" ? "Stopped." : "\u00a0";
    if (error.name !== "AbortError") throw error;
  } finally {
    running = null;
    dropPreviews();
    setRunning(false);
  }
}

async function tellDone(seed, total, started) {
  lastSeed = seed;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const guided = takesGuidance() ? `, guidance ${element("guidance-value").textContent}` : "";
  const words = `Seed ${seed}, ${element("steps").value} steps${guided}, ${seconds} s`;
  element("generate-note").textContent = words;
  element("keep-seed").hidden = element("seed").value === String(seed);
  clearError();
  announce(`${total} ${total === 1 ? "picture" : "pictures"}. ${words}.`);
  rememberGenerate();
  await offerGrid(`${stem(selected().name)}-seed-${seed}.png`);
}

/** One body of /v1/generate for each picture: every class from one seed, or one class from seeds that follow. */
function requestsOf(seed) {
  const entry = selected();
  const common = {
    model: entry.name,
    num_steps: Number(element("steps").value),
    size: chosenSize(),
    output: "png",
  };
  if (takesGuidance()) common.guidance = Number(element("guidance").value);
  if (!element("prompt-field").hidden) {
    common.prompt = element("prompt").value.trim();
    if (!element("negative-field").hidden && element("negative").value.trim()) common.negative_prompt = element("negative").value.trim();
  }
  const total = Number(element("count").value);
  if (element("label").value === EACH) return entry.class_names.map((_, label) => ({ ...common, label, seed }));
  const label = entry.class_names?.length ? { label: Number(element("label").value) } : {};
  return Array.from({ length: total }, (_, index) => ({ ...common, ...label, seed: seed + index }));
}

function resultOf({ model, label, prompt, num_steps: steps, guidance }, blob, seed, fromPicture) {
  const what = prompt ?? selected().class_names[label];
  const several = element("label").value !== EACH;
  const guided = guidance === undefined ? "" : `, guidance ${guidance.toFixed(1)}`;
  const facts = `${what}, seed ${seed}, ${steps} steps${guided}${fromPicture ? ", from a picture" : ""}`;
  const name = `${stem(what.slice(0, 40))}-seed-${seed}.png`;
  return { blob, name, title: several ? `Seed ${seed}` : what, facts, model, label, seed, fromPicture };
}

function setRunning(on) {
  element("generate-button").textContent = on ? "Stop" : "Generate";
  element("results").classList.toggle("running", on);
  element("results").setAttribute("aria-busy", String(on));
  if (on) reveal(element("results").closest(".outcome"));
}
