// The playground: starts its parts, and brings pictures to them.

import { call, hooks, ready, ServerError } from "./api.js";
import { connectGenerator, startGenerator } from "./generate.js";
import { announce, asSentence, clearError, element, fillSelect, setServerState, showBusy, showError } from "./page.js";
import { toPng } from "./pictures.js";
import { currentPicture, lookAt } from "./reconstruct.js";
import { drawSample } from "./sample.js";
import { noteOnStage, showCodesFrame, startStage } from "./stage.js";

let tokenizers = [];
let readiness = null;

/** Resolves when the server is ready and its models are known; a server that went away is waited for anew. */
function serverReady() {
  readiness ??= connect().catch((error) => {
    readiness = null;
    throw error;
  });
  return readiness;
}

async function connect() {
  await ready(({ code }) => {
    if (code === "unreachable") setServerState("trouble", "No answer");
    else setServerState("waiting", "Loading");
    noteOnStage(code === "unreachable" ? "Waiting for the server." : "The server is loading its model. This picture is next.");
  });
  noteOnStage(null);
  const { data, limits } = await (await call("v1/models")).json();
  tokenizers = data.filter(({ kind }) => kind === "tokenizer");
  const named = tokenizers.find(({ name }) => name === element("tokenizer").value);
  const chosen = named ?? tokenizers.find((entry) => entry.default) ?? tokenizers[0];
  fillSelect(element("tokenizer"), tokenizers.map(({ name }) => [name, name]), chosen?.name);
  describeTokenizer();
  startGenerator(data, limits, openGenerated);
  setServerState("ready", "Ready");
}

function chosenTokenizer() {
  return tokenizers.find(({ name }) => name === element("tokenizer").value);
}

function describeTokenizer() {
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

function openFile(file) {
  if (file) look({ blob: file, name: file.name || "pasted picture" });
}

async function openSample() {
  look({ blob: await toPng(drawSample()), name: "sample", scalable: true });
}

function openGenerated({ blob, name }) {
  look({ blob, name, scalable: false });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element("reconstruct-title").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
}

function look(picture) {
  clearError();
  lookAt(picture, { tokenizer: chosenTokenizer, serverReady }).catch(fail);
}

function lookAgain() {
  const picture = currentPicture();
  if (picture) look(picture);
}

/** Says what went wrong in the server's words, and waits for a server that is gone. */
function fail(error) {
  if (!(error instanceof ServerError)) console.error(error);
  showError(error.message);
  if (error.code === "unreachable" || error.status === 503) {
    setServerState("trouble", "No answer");
    readiness = null;
    // A server that was away gets the picture again; one whose worker broke does not, it might break on it.
    serverReady().then(error.code === "unreachable" ? lookAgain : clearError, fail);
  } else if (error.status === 401) {
    setServerState("trouble", "Key needed");
    readiness = null;
  }
}

function connectPictures() {
  element("choose").addEventListener("click", () => element("file").click());
  element("file").addEventListener("change", () => {
    openFile(element("file").files[0]);
    element("file").value = ""; // the same file can be chosen again
  });
  element("sample").addEventListener("click", openSample);
  element("longest").addEventListener("change", lookAgain);
  element("tokenizer").addEventListener("change", () => {
    describeTokenizer();
    lookAgain();
  });
  element("error-close").addEventListener("click", clearError);
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) openFile(file);
  });
  connectDropping();
}

function connectDropping() {
  const veil = element("drop-veil");
  const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0; // dragenter and dragleave come for every element that is crossed
  addEventListener("dragenter", (event) => {
    if (!holdsFile(event)) return;
    depth += 1;
    veil.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!holdsFile(event)) return;
    depth = Math.max(0, depth - 1);
    veil.hidden = depth === 0;
  });
  addEventListener("dragover", (event) => {
    if (holdsFile(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    openFile(event.dataTransfer.files[0]);
  });
}

/** Asks for a key in a dialog; null when the reader would rather not. */
function askForKey({ code, message }) {
  const sentence = code === "no_key" ? "Whoever runs it has one. It stays in this tab and goes to this server only." : message;
  const dialog = element("key-dialog");
  element("key-text").textContent = asSentence(sentence);
  element("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  announce(sentence);
  return new Promise((resolve) => {
    const answer = () => resolve(dialog.returnValue === "given" ? element("key").value.trim() : null);
    dialog.addEventListener("close", answer, { once: true });
  });
}

function connectKey() {
  const dialog = element("key-dialog");
  element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close("given");
  });
  element("key-cancel").addEventListener("click", () => dialog.close(""));
}

hooks.askForKey = askForKey;
hooks.onBusy = showBusy;
startStage();
connectPictures();
connectKey();
connectGenerator(fail);
openSample();
