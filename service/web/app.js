// The playground: starts its parts, and brings pictures to them.

import { hooks, ServerError } from "./api.js";
import { connectDropping } from "./dropping.js";
import { endAt, setEndPicture, setEndSeed } from "./ends.js";
import { setStart, startEasel } from "./easel.js";
import { connectEvaluation, showEvaluation } from "./evaluation.js";
import { arriveAtGenerate, connectGenerator, showGenerators } from "./generate.js";
import { startsFromPictures } from "./generation.js";
import { arriveAtInterpolate, connectInterpolation, describe } from "./interpolate.js";
import { followJobs } from "./jobs.js";
import { connectKey, askForKey } from "./key.js";
import { startLens } from "./lens.js";
import { connectModels, showModelCards } from "./models.js";
import { clearError, element, setServerState, showBusy, showError } from "./page.js";
import { toPng } from "./pictures.js";
import {
  arriveAtReconstruct, currentPicture, describeTokenizer, lookAt, rememberReconstruct, renewLatentFile, showTokenizers,
} from "./reconstruct.js";
import { connectResult, openResult } from "./result.js";
import { addView, go, offerView, shownView, startRouter } from "./router.js";
import { drawSample } from "./sample.js";
import { forgetServer, offers, onModels, server, serverReady } from "./server.js";
import { startStage } from "./stage.js";

/** A file that was dropped, pasted or chosen, in the view that is shown; `target` is what it fell on. */
function openFile(file, target = null) {
  if (!file) return;
  const name = file.name || "pasted picture";
  clearError();
  if (shownView() === "interpolate") setEndPicture(endAt(target), file, name).catch(fail);
  else if (shownView() === "generate" && startsFromPictures()) setStart(file, name).catch(fail);
  else reconstruct({ blob: file, name });
}

function reconstruct(picture) {
  look(picture);
  if (shownView() !== "reconstruct") go("reconstruct");
}

/** Shows the sample, unless there is something else to see by the time that it is drawn. */
async function openSample({ unless = () => false } = {}) {
  const blob = await toPng(drawSample());
  if (!unless()) look({ blob, name: "sample", scalable: true });
}

function look(picture) {
  clearError();
  lookAt(picture).catch(fail);
}

function lookAgain() {
  const picture = currentPicture();
  if (picture) look(picture);
}

/** Says what went wrong in the server's words, and waits for a server that is gone. */
function fail(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof ServerError) && error.constructor !== Error) console.error(error);
  showError(error.message);
  if (error.code === "unreachable" || error.status === 503) {
    setServerState("trouble", "No answer");
    forgetServer();
    // A server that was away gets the picture again; one whose worker broke does not, it might break on it.
    serverReady().then(error.code === "unreachable" ? lookAgain : clearError, fail);
  } else if (error.status === 401) {
    setServerState("trouble", "Key needed");
    forgetServer();
  }
}

function connectPictures() {
  for (const [button, input] of [["choose", "file"], ["photo", "camera"]]) {
    element(button).addEventListener("click", () => element(input).click());
    element(input).addEventListener("change", () => {
      openFile(element(input).files[0]);
      element(input).value = ""; // the same file can be chosen again
    });
  }
  element("sample").addEventListener("click", () => openSample().catch(fail));
  element("longest").addEventListener("change", () => {
    rememberReconstruct();
    lookAgain();
  });
  element("tokenizer").addEventListener("change", () => {
    describeTokenizer();
    rememberReconstruct();
    lookAgain();
  });
  element("latent-dtype").addEventListener("change", () => renewLatentFile().catch(fail));
  element("error-close").addEventListener("click", clearError);
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) openFile(file);
  });
  connectDropping(openFile);
}

function connectViews() {
  addView("reconstruct", (settings) => {
    followJobs(false);
    arriveAtReconstruct(settings);
    if (!currentPicture()) openSample({ unless: currentPicture }).catch(fail);
  });
  addView("generate", (settings) => {
    followJobs(false);
    arriveAtGenerate(settings);
  });
  addView("interpolate", (settings) => {
    followJobs(false);
    arriveAtInterpolate(settings);
  });
  addView("jobs", () => {
    followJobs(true);
    if (server.limits) showEvaluation().catch(fail);
  });
  addView("models", () => followJobs(false));
}

function connectServer() {
  onModels(() => {
    showTokenizers();
    showGenerators();
    describe();
    showModelCards();
    offerView("generate", server.generators.length > 0);
    offerView("jobs", offers("get", "/v1/jobs"));
    if (shownView() === "jobs") {
      followJobs(true);
      showEvaluation().catch(fail);
    }
  });
}

function interpolateWith(letter, { blob, name, label, seed, fromPicture }) {
  go("interpolate");
  if (label === undefined || fromPicture) setEndPicture(letter, blob, name).catch(fail);
  else setEndSeed(letter, label, seed);
}

hooks.askForKey = askForKey;
hooks.onBusy = showBusy;
startStage(rememberReconstruct);
startLens();
startEasel();
connectKey();
connectPictures();
connectGenerator({ onFailure: fail, onResult: openResult });
connectInterpolation(fail);
connectEvaluation(fail);
connectModels(fail);
connectResult({
  reconstruct: ({ blob, name }) => reconstruct({ blob, name, scalable: false }),
  start: ({ blob, name }) => setStart(blob, name).catch(fail),
  from: (result) => interpolateWith("a", result),
  to: (result) => interpolateWith("b", result),
});
connectViews();
connectServer();
startRouter();
serverReady().catch(fail);
