// What is in a latent, painted: principal components, channels, codes.

import { readTensors } from "./safetensors.js";

const CHANNEL_RANGE = 2.5; // normalised latents: about 99 % of the values lie within this many deviations

/** Reads safetensors bytes: `{values, shape, channels, positions, width, height, dtype, metadata}` of the tensor `z`.
 *
 * A latent without a grid (channels, tokens) is laid out as a grid about as wide as high. Null where there is nothing to
 * paint: a file of indices, or of values that were quantised. Throws an Error when the bytes are no safetensors file. */
export function readLatent(buffer) {
  const { tensors, metadata } = readTensors(buffer);
  if ("indices" in tensors) return null;
  const { dtype, values, shape: whole } = tensors.z ?? Object.values(tensors)[0];
  if (values === null) return null;
  const shape = whole.slice(1); // the batch axis holds one sample
  const channels = shape[0];
  const positions = shape.slice(1).reduce((product, side) => product * side, 1);
  const width = shape.length > 2 ? shape.at(-1) : Math.ceil(Math.sqrt(positions));
  return { values, shape, channels, positions, width, height: Math.ceil(positions / width), dtype, metadata };
}

/** The latent as a mosaic: one tile a position, its three principal components as lightness and two colours.
 *
 * Gives the canvas, and the share of the variance that each component holds. */
export function paintMosaic(latent) {
  const { scores, shares } = principalComponents(latent, 3);
  const { canvas, tile } = mosaicCanvas(latent.width, latent.height);
  for (let position = 0; position < latent.positions; position += 1) {
    const [light, first, second] = scores.map((component) => clamp(component[position], -2.2, 2.2));
    tile(position, oklab(0.63 + 0.135 * light, 0.062 * first, 0.062 * second));
  }
  return { canvas, shares };
}

/** The picture of the codes, one pixel a position, enlarged without blurring. */
export function paintCodes(picture) {
  const cell = Math.max(1, Math.floor(1024 / Math.max(picture.width, picture.height)));
  const canvas = document.createElement("canvas");
  canvas.width = picture.width * cell;
  canvas.height = picture.height * cell;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Every channel as a small map, strongest variation first, on one scale from clay (negative) to teal (positive). */
export function paintChannels(latent) {
  const { values, channels, positions, width, height } = latent;
  const columns = Math.ceil(Math.sqrt(channels * (height / width)));
  const rows = Math.ceil(channels / columns);
  const cell = Math.max(1, Math.floor(960 / Math.max(columns * (width + 1), rows * (height + 1))));
  const gap = Math.max(2, Math.round(cell * 0.8));
  const canvas = document.createElement("canvas");
  canvas.width = columns * (width * cell + gap) - gap;
  canvas.height = rows * (height * cell + gap) - gap;
  const context = canvas.getContext("2d");
  const order = Array.from({ length: channels }, (_, channel) => channel)
    .sort((one, other) => spread(values, other, positions) - spread(values, one, positions));
  order.forEach((channel, place) => {
    const left = (place % columns) * (width * cell + gap);
    const top = Math.floor(place / columns) * (height * cell + gap);
    for (let position = 0; position < positions; position += 1) {
      context.fillStyle = diverging(values[channel * positions + position] / CHANNEL_RANGE);
      context.fillRect(left + (position % width) * cell, top + Math.floor(position / width) * cell, cell, cell);
    }
  });
  return canvas;
}

/** The first `count` principal components over positions: `scores` of unit variance, and `shares` of all variance.
 *
 * Power iteration with deflation on the (channels, channels) covariance; channels are few. */
export function principalComponents({ values, channels, positions }, count) {
  const centred = new Float64Array(channels * positions);
  for (let channel = 0; channel < channels; channel += 1) {
    const from = channel * positions;
    let mean = 0;
    for (let position = 0; position < positions; position += 1) mean += values[from + position] / positions;
    for (let position = 0; position < positions; position += 1) {
      centred[from + position] = values[from + position] - mean;
    }
  }
  const covariance = covarianceOf(centred, channels, positions);
  let total = 0;
  for (let channel = 0; channel < channels; channel += 1) total += covariance[channel * channels + channel];
  const [components, shares] = [[], []];
  for (let index = 0; index < count; index += 1) {
    const axis = leadingAxis(covariance, channels);
    const scores = new Float64Array(positions);
    let variance = 0;
    for (let position = 0; position < positions; position += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        scores[position] += axis.vector[channel] * centred[channel * positions + position];
      }
      variance += scores[position] ** 2 / positions;
    }
    const scale = variance > 1e-12 ? 1 / Math.sqrt(variance) : 0;
    components.push(scores.map((score) => score * scale));
    shares.push(total > 0 ? variance / total : 0);
    deflate(covariance, axis, channels);
  }
  return { scores: components, shares };
}

function covarianceOf(centred, channels, positions) {
  const covariance = new Float64Array(channels * channels);
  for (let row = 0; row < channels; row += 1) {
    for (let column = row; column < channels; column += 1) {
      let sum = 0;
      for (let position = 0; position < positions; position += 1) {
        sum += centred[row * positions + position] * centred[column * positions + position];
      }
      covariance[row * channels + column] = sum / positions;
      covariance[column * channels + row] = sum / positions;
    }
  }
  return covariance;
}

function leadingAxis(covariance, channels) {
  // A fixed, uneven start: the same latent always gets the same colours.
  let vector = Float64Array.from({ length: channels }, (_, index) => 1 + ((index * 7) % 5) / 5);
  let eigenvalue = 0;
  for (let round = 0; round < 60; round += 1) {
    const next = new Float64Array(channels);
    for (let row = 0; row < channels; row += 1) {
      for (let column = 0; column < channels; column += 1) {
        next[row] += covariance[row * channels + column] * vector[column];
      }
    }
    eigenvalue = Math.hypot(...next);
    if (eigenvalue < 1e-12) return { vector, eigenvalue: 0 };
    vector = next.map((value) => value / eigenvalue);
  }
  const sign = vector.reduce((sum, value) => sum + value, 0) < 0 ? -1 : 1;
  return { vector: vector.map((value) => value * sign), eigenvalue };
}

function deflate(covariance, { vector, eigenvalue }, channels) {
  for (let row = 0; row < channels; row += 1) {
    for (let column = 0; column < channels; column += 1) {
      covariance[row * channels + column] -= eigenvalue * vector[row] * vector[column];
    }
  }
}

function mosaicCanvas(width, height) {
  const cell = Math.min(96, Math.max(4, Math.floor(1024 / Math.max(width, height))));
  const grout = cell >= 10 ? Math.max(1, Math.round(cell * 0.07)) : 0;
  const canvas = document.createElement("canvas");
  canvas.width = width * cell - grout;
  canvas.height = height * cell - grout;
  const context = canvas.getContext("2d");
  const tile = (position, colour) => {
    context.fillStyle = colour;
    context.beginPath();
    const side = cell - grout;
    context.roundRect((position % width) * cell, Math.floor(position / width) * cell, side, side, side * 0.1);
    context.fill();
  };
  return { canvas, tile };
}

function spread(values, channel, positions) {
  const part = values.subarray(channel * positions, (channel + 1) * positions);
  const mean = part.reduce((sum, value) => sum + value, 0) / positions;
  return part.reduce((sum, value) => sum + (value - mean) ** 2, 0);
}

function diverging(value) {
  const amount = Math.min(1, Math.abs(value));
  const light = 0.93 - 0.5 * amount;
  return value < 0 ? oklab(light, 0.1 * amount, 0.075 * amount) : oklab(light, -0.085 * amount, -0.012 * amount);
}

/** A CSS colour of OKLab coordinates.
 *
 * Source: Björn Ottosson, "A perceptual color space for image processing", 2020. */
function oklab(lightness, a, b) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  const bytes = linear.map((value) => {
    const bounded = clamp(value, 0, 1);
    const encoded = bounded <= 0.0031308 ? 12.92 * bounded : 1.055 * bounded ** (1 / 2.4) - 0.055;
    return Math.round(255 * encoded);
  });
  return `rgb(${bytes.join(" ")})`;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
