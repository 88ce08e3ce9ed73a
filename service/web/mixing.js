// Ways from one latent to another.

const NEARLY_PARALLEL = 1e-4; // radians; below it an arc is a line

/** (1 - t) a + t b. */
export function alongLine(a, b, t) {
  return a.map((value, index) => (1 - t) * value + t * b[index]);
}

/** The same angle per step on the arc from `a` to `b`; lengths change evenly with t.
 *
 * Latents are normalised, so in many dimensions they lie near a sphere; a line between two cuts through its inside,
 * where no latent of a picture is. Source: Ken Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985. */
export function alongArc(a, b, t) {
  const [lengthA, lengthB] = [norm(a), norm(b)];
  if (lengthA === 0 || lengthB === 0) return alongLine(a, b, t);
  let cosine = 0;
  for (let index = 0; index < a.length; index += 1) cosine += (a[index] / lengthA) * (b[index] / lengthB);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  if (angle < NEARLY_PARALLEL || sine < NEARLY_PARALLEL) return alongLine(a, b, t); // opposite: no arc is the shortest
  const length = (1 - t) * lengthA + t * lengthB;
  const [partA, partB] = [Math.sin((1 - t) * angle) / sine / lengthA, Math.sin(t * angle) / sine / lengthB];
  return a.map((value, index) => length * (partA * value + partB * b[index]));
}

/** Tensors of `count` latents from `a` to `b` in one batch; `a` and `b` are readTensors().tensors of batch 1.
 *
 * Throws an Error when the two do not have the same shapes. */
export function between(a, b, count, way) {
  return Object.fromEntries(Object.entries(a).map(([name, { shape, values }]) => {
    const other = b[name];
    if (!other || String(other.shape) !== String(shape)) {
      throw new Error("The two latents differ in shape. Take two pictures of one size and one tokenizer.");
    }
    const batch = new Float32Array(count * values.length);
    for (let index = 0; index < count; index += 1) {
      batch.set(way(values, other.values, count > 1 ? index / (count - 1) : 0), index * values.length);
    }
    return [name, { shape: [count, ...shape.slice(1)], values: batch }];
  }));
}

/** Samples `from` up to `to` of a batch. */
export function slice(tensors, from, to) {
  return Object.fromEntries(Object.entries(tensors).map(([name, { shape, values }]) => {
    const each = values.length / shape[0];
    return [name, { shape: [to - from, ...shape.slice(1)], values: values.slice(from * each, to * each) }];
  }));
}

function norm(values) {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
