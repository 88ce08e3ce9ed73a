// Pictures as canvases: opening, scaling, comparing, naming.

// What the server reads; whatever else this browser can open is sent as PNG.
const SENT_AS_IS = new Set(["", "image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]);

/** A picture that was opened: what is sent, and the same pixels to look at.
 *
 * `longest` scales a larger picture down before it is sent; 0 sends every picture as it is. Pixels are taken as
 * stored, without colour management, and transparency is laid over white, as the server does. `canvas` is null where
 * the browser cannot open the file: the server may. */
export async function openPicture(blob, name, longest) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    return { blob, name, canvas: null, scaledFrom: null };
  }
  const { width, height } = bitmap;
  const scale = longest > 0 ? longest / Math.max(width, height) : 1;
  if (scale >= 1) {
    const canvas = toCanvas(bitmap);
    return { blob: SENT_AS_IS.has(blob.type) ? blob : await toPng(canvas), name, canvas, scaledFrom: null };
  }
  const canvas = shrinkTo(toCanvas(bitmap), Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  return { blob: await toPng(canvas), name, canvas, scaledFrom: [height, width] };
}

/** A canvas with the pixels of an encoded picture. */
export async function decodePicture(blob) {
  return toCanvas(await createImageBitmap(blob, { colorSpaceConversion: "none" }));
}

/** |one - other| times `gain`, as a canvas of the size of `one`. */
export function paintDifference(one, other, gain) {
  const { width, height } = one;
  const left = pixelsOf(one).data;
  const right = pixelsOf(other, width, height).data;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const result = context.createImageData(width, height);
  for (let index = 0; index < left.length; index += 1) {
    result.data[index] = index % 4 === 3 ? 255 : Math.abs(left[index] - right[index]) * gain;
  }
  context.putImageData(result, 0, 0);
  return canvas;
}

/** Draws `source` into the square canvas `thumb`, filling it. */
export function paintThumb(thumb, source) {
  const context = thumb.getContext("2d");
  context.clearRect(0, 0, thumb.width, thumb.height);
  const side = Math.min(source.width, source.height);
  context.imageSmoothingQuality = "high";
  const [left, top] = [(source.width - side) / 2, (source.height - side) / 2];
  context.drawImage(source, left, top, side, side, 0, 0, thumb.width, thumb.height);
}

/** The middle of `source` as a canvas of `width` x `height`, filled. */
export function cover(source, width, height) {
  const scale = Math.max(width / source.width, height / source.height);
  const [cutWidth, cutHeight] = [width / scale, height / scale];
  const canvas = document.createElement("canvas");
  canvas.width = cutWidth;
  canvas.height = cutHeight;
  const [left, top] = [(source.width - cutWidth) / 2, (source.height - cutHeight) / 2];
  canvas.getContext("2d").drawImage(source, left, top, cutWidth, cutHeight, 0, 0, canvas.width, canvas.height);
  return shrinkTo(canvas, width, height);
}

/** Pictures of one size in rows of `columns`, a gap of `gap` white pixels between. */
export function sheetOf(pictures, columns, gap) {
  const { width, height } = pictures[0];
  const rows = Math.ceil(pictures.length / columns);
  const canvas = document.createElement("canvas");
  canvas.width = columns * (width + gap) - gap;
  canvas.height = rows * (height + gap) - gap;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  pictures.forEach((picture, index) => {
    context.drawImage(picture, (index % columns) * (width + gap), Math.floor(index / columns) * (height + gap));
  });
  return canvas;
}

/** The bytes of a base64 text as a blob. */
export function blobOf(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}

/** The PNG bytes of a canvas. */
export function toPng(canvas) {
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

/** The file name without its last extension, fit to be part of another. */
export function stem(name) {
  return name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "-") || "picture";
}

/** A number of bytes to read: 812 B, 33.1 kB, 1.20 MB. */
export function formatBytes(count) {
  if (count < 1000) return `${count} B`;
  const [value, unit] = count < 1e6 ? [count / 1000, "kB"] : [count / 1e6, "MB"];
  return `${value.toPrecision(value < 1000 ? 3 : 4)} ${unit}`;
}

function toCanvas(bitmap) {
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  return canvas;
}

function shrinkTo(whole, width, height) {
  // Halving first keeps fine patterns from turning into moiré.
  let source = whole;
  while (source.width >= 2 * width && source.height >= 2 * height) {
    source = resized(source, Math.ceil(source.width / 2), Math.ceil(source.height / 2));
  }
  return resized(source, width, height);
}

function resized(source, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

function pixelsOf(canvas, width = canvas.width, height = canvas.height) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return context.getImageData(0, 0, width, height);
}
