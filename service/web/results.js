// The grid of generated pictures: empty tiles, previews on their way, results to open and to save.

import { element, make, setDownload } from "./page.js";
import { decodePicture, formatBytes, sheetOf, toPng } from "./pictures.js";

const GAP = 8; // between the pictures of a saved grid
let columns = 1;
let made = []; // what each place shows, once it is there: {blob, name, title, facts, ...}

/** Replaces the grid by `total` empty tiles of a shape; nothing moves when the pictures arrive. */
export function layTiles(total, [height, width]) {
  for (const picture of element("results").querySelectorAll("img")) URL.revokeObjectURL(picture.src);
  made = [];
  columns = columnsFor(total);
  element("results").style.setProperty("--ratio", String(width / height));
  element("results").style.setProperty("--columns", String(columns));
  element("results").style.setProperty("--most", total === 1 ? "32rem" : total <= 4 ? "18rem" : "13rem");
  element("results").replaceChildren(...Array.from({ length: total }, emptyTile));
  element("save-grid").hidden = true;
  setDownload(element("save-grid"), null);
}

/** Shows how far the picture at `place` is, and what it looks like so far, where the server says so. */
export function showStep(place, { step, numSteps, preview }) {
  const tile = element("results").children[place]?.querySelector(".tile");
  if (!tile) return;
  let bar = tile.querySelector(".bar");
  if (!bar) {
    bar = make("div", { className: "bar" }, {}, [make("span")]);
    tile.append(bar);
  }
  bar.dataset.known = "";
  bar.firstChild.style.setProperty("--done", `${(100 * step) / numSteps}%`);
  if (!preview) return;
  let picture = tile.querySelector("img");
  if (!picture) {
    picture = make("img", { className: "preview", alt: "" });
    tile.prepend(picture);
  }
  const before = picture.src;
  picture.src = URL.createObjectURL(preview);
  if (before) URL.revokeObjectURL(before);
}

/** Takes away previews of pictures that will not come. */
export function dropPreviews() {
  for (const picture of element("results").querySelectorAll(".preview")) URL.revokeObjectURL(picture.src);
  for (const part of element("results").querySelectorAll(".preview, .bar")) part.remove();
}

/** Puts a picture in its place; `open(result)` is called when it is chosen. */
export function showResult(place, result, open) {
  const figure = element("results").children[place];
  if (!figure) return;
  for (const old of figure.querySelectorAll("img")) URL.revokeObjectURL(old.src);
  const picture = make("img", { src: URL.createObjectURL(result.blob), alt: result.facts });
  const tile = make("button", { type: "button", className: "tile", title: "Look at it" }, {}, [picture]);
  tile.addEventListener("click", () => open(result));
  const link = make("a", { href: picture.src, download: result.name, textContent: "Save" }, { "aria-label": `Save ${result.facts}` });
  figure.className = "result";
  figure.replaceChildren(tile, make("figcaption", {}, {}, [make("span", { textContent: result.title }), link]));
  made[place] = result;
}

/** Offers all pictures as one file. */
export async function offerGrid(name) {
  const blobs = made.filter(Boolean).map(({ blob }) => blob);
  if (blobs.length < 2) return;
  const pictures = await Promise.all(blobs.map(decodePicture));
  const file = await toPng(sheetOf(pictures, Math.min(columns, pictures.length), GAP));
  setDownload(element("save-grid"), file, name, formatBytes(file.size));
  element("save-grid").hidden = false;
}

/** As many columns, up to six, as leave the fewest places empty in the last row. */
function columnsFor(total) {
  if (total <= 3) return total;
  if (total === 4) return 2;
  const places = (count) => (count - (total % count)) % count;
  return [5, 4, 3].reduce((best, count) => (places(count) < places(best) ? count : best));
}

function emptyTile() {
  return make("figure", { className: "result empty" }, {}, [
    make("div", { className: "tile" }),
    make("figcaption", { textContent: "\u00a0" }),
  ]);
}
