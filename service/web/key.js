// Asks for the server's key, where it wants one.

import { announce, asSentence, element } from "./page.js";

/** Connects the dialog. Call once. */
export function connectKey() {
  const dialog = element("key-dialog");
  element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close("given");
  });
  element("key-cancel").addEventListener("click", () => dialog.close(""));
}

/** Asks for a key in a dialog; null when the reader would rather not. */
export function askForKey({ code, message }) {
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
