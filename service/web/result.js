// One generated picture, large, and what can be done with it.

import { element, setDownload } from "./page.js";
import { formatBytes } from "./pictures.js";

let shown = null;

/** Opens a picture `{blob, name, title, facts, ...}`. */
export function openResult(result) {
  shown = result;
  const picture = element("result-picture");
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(result.blob);
  picture.alt = result.facts;
  element("result-title").textContent = result.title;
  element("result-facts").textContent = result.facts;
  setDownload(element("result-save"), result.blob, result.name, formatBytes(result.blob.size));
  element("result-dialog").showModal();
}

/** Connects the buttons: `reconstruct(result)`, `start(result)`, `from(result)`, `to(result)`. Call once. */
export function connectResult(actions) {
  const dialog = element("result-dialog");
  element("result-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  for (const [name, action] of Object.entries(actions)) {
    element(`result-${name}`).addEventListener("click", () => {
      dialog.close();
      action(shown);
    });
  }
}

/** Whether a generator can start from a picture. */
export function offerStart(offered) {
  element("result-start").hidden = !offered;
}
