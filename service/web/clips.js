// A video and what came back of it, side by side and in step.

import { element } from "./page.js";

const VIDEO_NAME = /\.(mp4|m4v|mov|webm|mkv)$/i;
const addresses = [];
let connected = false;

/** Whether a file goes through the tokenizer as a clip; a GIF does where the tokenizer's `time` knows clips. */
export function isClip(blob, name, time) {
  if (blob.type === "image/gif" || /\.gif$/i.test(name)) return time !== undefined && time !== "none";
  return blob.type.startsWith("video/") || VIDEO_NAME.test(name);
}

/** Plays both files; null for both takes them away. */
export function showClips(original, reconstruction) {
  connect();
  while (addresses.length) URL.revokeObjectURL(addresses.pop());
  const moving = original?.type === "image/gif";
  const places = { "clip-original": moving ? null : original, "clip-gif": moving ? original : null, "clip-back": reconstruction };
  for (const [id, blob] of Object.entries(places)) {
    const place = element(id);
    place.hidden = blob === null;
    if (blob === null) place.removeAttribute("src");
    else {
      place.src = URL.createObjectURL(blob);
      addresses.push(place.src);
    }
  }
  element("clips").hidden = reconstruction === null;
  if (reconstruction !== null) element("clip-back").play().catch(() => {}); // where nothing plays by itself, its button does
}

/** One plays, stops and seeks as the other does. Once. */
function connect() {
  if (connected) return;
  connected = true;
  const clips = ["clip-original", "clip-back"].map((id) => element(id));
  clips.forEach((clip, index) => {
    const other = clips[1 - index];
    clip.addEventListener("play", () => { if (!other.hidden) other.play().catch(() => {}); });
    clip.addEventListener("pause", () => { if (!clip.ended) other.pause(); });
    clip.addEventListener("seeked", () => {
      if (!other.hidden && Math.abs(other.currentTime - clip.currentTime) > 0.05) other.currentTime = clip.currentTime;
    });
  });
}
