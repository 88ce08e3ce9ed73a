// A picture for whoever has none at hand: a striped pullover, drawn here.

const SIDE = 512;
const SAIL = "#ece3d0";
const NAVY = "#2c4660";

/** Draws the sample; the same pixels every time. */
export function drawSample() {
  const canvas = document.createElement("canvas");
  canvas.width = SIDE;
  canvas.height = SIDE;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  drawGround(context);
  drawSleeve(context, 1);
  drawSleeve(context, -1);
  drawBody(context);
  drawCollar(context);
  addGrain(context);
  return canvas;
}

function drawGround(context) {
  const light = context.createRadialGradient(170, 130, 40, 256, 256, 420);
  light.addColorStop(0, "#d9b79a");
  light.addColorStop(0.6, "#c79c7d");
  light.addColorStop(1, "#a87c60");
  context.fillStyle = light;
  context.fillRect(0, 0, SIDE, SIDE);
}

function bodyPath() {
  return new Path2D(
    "M196 106 C168 112 142 122 126 136 C140 190 144 240 142 300 C140 350 136 396 138 430 " +
    "C180 442 332 442 374 430 C376 396 372 350 370 300 C368 240 372 190 386 136 C370 122 344 112 316 106 " +
    "C300 128 212 128 196 106 Z",
  );
}

function sleevePath() {
  return new Path2D(
    "M132 132 C108 144 96 168 88 204 C76 256 64 320 54 386 C52 398 58 402 70 404 C80 406 92 408 100 404 " +
    "C112 352 126 300 144 252 C150 214 146 170 132 132 Z",
  );
}

function drawSleeve(context, side) {
  context.save();
  if (side < 0) {
    context.translate(SIDE, 0);
    context.scale(-1, 1);
  }
  castShadow(context, sleevePath(), side);
  context.clip(sleevePath());
  for (let row = 0; row < 12; row += 1) {
    context.save();
    context.translate(100, 140 + row * 26);
    context.rotate(0.2);
    context.fillStyle = NAVY;
    context.fillRect(-80, 0, 160, 12);
    context.restore();
  }
  shade(context, 54, 0, 150, 40, [[0, 0.34], [0.4, 0], [0.75, 0.05], [1, 0.42]]);
  cuff(context, [[50, 380], [104, 392], [102, 410], [48, 406]]);
  context.restore();
}

function drawBody(context) {
  castShadow(context, bodyPath(), 1);
  context.save();
  context.clip(bodyPath());
  context.strokeStyle = NAVY;
  context.lineWidth = 12;
  for (let row = 0; row < 12; row += 1) {
    const top = 158 + row * 25;
    context.beginPath();
    context.moveTo(110, top - 4);
    context.bezierCurveTo(200, top + 7, 300, top + 7, 402, top - 4);
    context.stroke();
  }
  shade(context, 132, 0, 380, 0, [[0, 0.4], [0.16, 0.06], [0.42, 0], [0.7, 0.1], [1, 0.46]]);
  for (const [x, top, bend, width] of [[196, 210, 16, 26], [292, 180, -20, 34], [330, 260, 12, 22], [232, 320, -10, 24]]) {
    fold(context, x, top, bend, width);
  }
  cuff(context, [[130, 412], [382, 412], [380, 450], [132, 450]]);
  context.restore();
}

function castShadow(context, path, side) {
  context.save();
  context.shadowColor = "rgb(60 32 16 / 0.5)";
  context.shadowBlur = 26;
  context.shadowOffsetX = 9 * side;
  context.shadowOffsetY = 14;
  context.fillStyle = SAIL;
  context.fill(path);
  context.restore();
}

function shade(context, x0, y0, x1, y1, stops) {
  const gradient = context.createLinearGradient(x0, y0, x1, y1);
  for (const [place, amount] of stops) gradient.addColorStop(place, `rgb(38 24 20 / ${amount})`);
  context.fillStyle = gradient;
  context.fillRect(0, 0, SIDE, SIDE);
}

function fold(context, x, top, bend, width) {
  for (let layer = 6; layer > 0; layer -= 1) {
    context.strokeStyle = "rgb(34 20 18 / 0.035)";
    context.lineWidth = (width * layer) / 6;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(x, top);
    context.quadraticCurveTo(x + bend, top + 60, x - bend * 0.4, top + 120);
    context.stroke();
  }
}

function cuff(context, corners) {
  context.beginPath();
  corners.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  context.fillStyle = "rgb(44 70 96 / 0.92)";
  context.fill();
}

function drawCollar(context) {
  context.lineCap = "round";
  for (const [width, colour] of [[17, "#223850"], [13, NAVY], [3, "rgb(255 255 255 / 0.1)"]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(198, 106);
    context.bezierCurveTo(216, 142, 296, 142, 314, 106);
    context.stroke();
  }
  context.fillStyle = "#6d4c3a";
  context.beginPath();
  context.moveTo(205, 103);
  context.bezierCurveTo(222, 130, 290, 130, 307, 103);
  context.bezierCurveTo(276, 112, 236, 112, 205, 103);
  context.fill();
}

function addGrain(context) {
  const image = context.getImageData(0, 0, SIDE, SIDE);
  let state = 20260; // a small linear congruential generator: the same grain on every machine
  for (let index = 0; index < image.data.length; index += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const x = (index / 4) % SIDE;
    const knit = ((x + Math.floor(index / 4 / SIDE)) % 4 < 2 ? 2 : -2);
    const grain = (state / 2 ** 32 - 0.5) * 9 + knit;
    for (let channel = 0; channel < 3; channel += 1) image.data[index + channel] += grain;
  }
  context.putImageData(image, 0, 0);
}
