// Files that are dragged over the page, anywhere.

import { element } from "./page.js";

/** Calls `onFile(file, target)` with what was let go, and where. Call once. */
export function connectDropping(onFile) {
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
    onFile(event.dataTransfer.files[0], event.target);
  });
}
