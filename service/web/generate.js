// The generator's panel: settings, a grid of results, seeds.

import { call } from "./api.js";
import { announce, clearError, element, fillSelect, showError, working } from "./page.js";

const EACH = "each";
const COUNTS = [1, 2, 4, 6, 8, 12, 16, 24, 32];
const MOST_CLASSES = 16; // "one of each" is offered up to here
const AT_ONCE = 4; // requests under way when every class is asked for

let generators = [];
let counts = [1];
let wanted = 6; // pictures of one class
let openResult = () => {};
let running = null;
let lastSeed = null;

/** Fills the panel from `GET /v1/models`, or hides it where no generator is served.
 *
 * `open({blob, name})` is called when a result is clicked. */
export function startGenerator(models, limits, open) {
  generators = models.filter(({ kind }) => kind === "generator");
  openResult = open;
  element("generate").hidden = generators.length === 0;
  if (generators.length === 0) return;
  const chosen = generators.find((entry) => entry.default) ?? generators[0];
  fillSelect(element("generator"), generators.map(({ name }) => [name, name]), chosen.name);
  element("generator-field").hidden = generators.length < 2;
  counts = COUNTS.filter((each) => each <= limits.max_images);
  element("steps").max = String(Math.min(100, limits.max_steps));
  element("guidance").max = String(Math.min(10, limits.max_guidance));
  showGenerator();
}

/** Connects the panel's controls. Call once. */
export function connectGenerator(onFailure) {
  element("generator").addEventListener("change", showGenerator);
  for (const id of ["steps", "guidance"]) element(id).addEventListener("input", showNumbers);
  element("count").addEventListener("change", () => { wanted = Number(element("count").value); });
  for (const id of ["label", "count", "size"]) element(id).addEventListener("change", blankResults);
  element("random-seed").addEventListener("click", () => {
    element("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
  });
  element("keep-seed").addEventListener("click", () => {
    element("seed").value = String(lastSeed);
    element("seed").focus();
  });
  element("generate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else generate().catch(onFailure);
  });
}

function showGenerator() {
  const { class_names: names, sizes, num_steps: steps, guidance } = selected();
  const classes = names.map((name, index) => [index, name]);
  const offersEach = names.length > 1 && names.length <= MOST_CLASSES;
  fillSelect(element("label"), offersEach ? [[EACH, "One of each"], ...classes] : classes);
  fillSelect(element("size"), sizes.map(([height, width]) => [`${height},${width}`, `${width} × ${height}`]));
  element("size-field").hidden = sizes.length < 2;
  element("steps").value = String(steps ?? 20);
  element("guidance").value = String(guidance ?? 3);
  showNumbers();
  blankResults();
}

function selected() {
  return generators.find(({ name }) => name === element("generator").value);
}

function showNumbers() {
  element("steps-value").textContent = element("steps").value;
  element("guidance-value").textContent = Number(element("guidance").value).toFixed(1);
}

/** Replaces the results by as many empty tiles as the next ones will need; nothing moves when they arrive. */
function blankResults() {
  if (running) return;
  const each = element("label").value === EACH;
  const choices = each ? [selected().class_names.length] : counts;
  fillSelect(element("count"), choices.map((choice) => [choice, choice]), wanted);
  element("count").disabled = each;
  const total = Number(element("count").value);
  const [height, width] = element("size").value.split(",").map(Number);
  for (const picture of element("results").querySelectorAll("img")) URL.revokeObjectURL(picture.src);
  element("results").style.setProperty("--ratio", String(width / height));
  element("results").style.setProperty("--columns", String(columnsFor(total)));
  element("results").replaceChildren(...Array.from({ length: total }, emptyTile));
  element("generate-note").textContent = "\u00a0";
  element("keep-seed").hidden = true;
}

/** As many columns, up to six, as leave the fewest places empty in the last row. */
function columnsFor(total) {
  if (total <= 6) return Math.max(total, 4);
  const places = (columns) => (columns - (total % columns)) % columns;
  return [6, 5, 4].reduce((best, columns) => (places(columns) < places(best) ? columns : best));
}

function emptyTile() {
  const figure = document.createElement("figure");
  figure.className = "result empty";
  const frame = document.createElement("div");
  frame.className = "tile";
  const caption = document.createElement("figcaption");
  caption.textContent = "\u00a0";
  figure.append(frame, caption);
  return figure;
}

async function generate() {
  const seed = readSeed();
  if (seed === undefined) return;
  blankResults();
  running = new AbortController();
  const { signal } = running;
  setRunning(true);
  const started = performance.now();
  try {
    const way = element("label").value === EACH ? oneOfEach : several;
    const used = await working(() => way(seed, signal));
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    lastSeed = used;
    const settings = `${element("steps").value} steps, guidance ${element("guidance-value").textContent}`;
    const words = `Seed ${used}, ${settings}, ${seconds} s`;
    element("generate-note").textContent = words;
    element("keep-seed").hidden = element("seed").value === String(used);
    clearError();
    announce(`${element("results").children.length} pictures. ${words}.`);
  } catch (error) {
    running.abort(); // the other requests of the same click
    element("generate-note").textContent = error.name === "AbortError" ? "Stopped." : "\u00a0";
    if (error.name !== "AbortError") throw error;
  } finally {
    running = null;
    setRunning(false);
  }
}

function setRunning(on) {
  element("generate-button").textContent = on ? "Stop" : "Generate";
  element("results").classList.toggle("running", on);
  element("results").setAttribute("aria-busy", String(on));
}

/** The seed typed, null for none, or undefined after saying what is wrong with it. */
function readSeed() {
  const text = element("seed").value.trim();
  if (text === "") return null;
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  showError("The seed is a whole number from 0 to 9007199254740991, or nothing for a new one each time.");
  element("seed").focus();
  return undefined;
}

async function several(seed, signal) {
  const total = Number(element("count").value);
  const label = Number(element("label").value);
  const response = await request({ label, num_images: total, seed }, signal);
  if (total === 1) {
    const used = Number(response.headers.get("x-tessera-seed"));
    fillTile(0, await response.blob(), label, used);
    return used;
  }
  const { seed: used, data, media_type: type } = await response.json();
  data.forEach(({ b64 }, index) => fillTile(index, blobOf(b64, type), label, used, index));
  return used;
}

/** One picture of every class from one seed, a few requests at a time, each shown as it arrives. */
async function oneOfEach(seed, signal) {
  const used = seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
  const labels = selected().class_names.map((_, index) => index);
  const worker = async () => {
    while (labels.length > 0) {
      const label = labels.shift();
      const response = await request({ label, num_images: 1, seed: used }, signal);
      fillTile(label, await response.blob(), label, used);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return used;
}

function request(settings, signal) {
  const body = {
    model: selected().name,
    num_steps: Number(element("steps").value),
    guidance: Number(element("guidance").value),
    size: element("size").value.split(",").map(Number),
    output: "png",
    ...settings,
  };
  const headers = { "content-type": "application/json" };
  return call("v1/generate", { method: "POST", body: JSON.stringify(body), headers, signal });
}

function fillTile(place, blob, label, seed, index = 0) {
  const className = selected().class_names[label];
  const name = `${className}-seed-${seed}${index ? `-${index + 1}` : ""}.png`;
  const words = `${className}, seed ${seed}${index ? `, picture ${index + 1}` : ""}`;
  const picture = document.createElement("img");
  picture.src = URL.createObjectURL(blob);
  picture.alt = words;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tile";
  button.title = "Look at it above";
  button.append(picture);
  button.addEventListener("click", () => openResult({ blob, name }));
  const caption = document.createElement("figcaption");
  const title = document.createElement("span");
  title.textContent = className;
  const link = document.createElement("a");
  link.href = picture.src;
  link.download = name;
  link.textContent = "Save";
  link.setAttribute("aria-label", `Save ${words}`);
  caption.append(title, link);
  const figure = element("results").children[place];
  figure.className = "result";
  figure.replaceChildren(button, caption);
}

function blobOf(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}
