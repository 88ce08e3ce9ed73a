// Latents as bytes in the browser: safetensors in, safetensors out.

const READERS = {
  F32: (buffer) => new Float32Array(buffer),
  F16: (buffer) => Float32Array.from(new Uint16Array(buffer), halfToFloat),
  BF16: (buffer) => new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer),
};

/** Tensors of safetensors bytes by name, `{shape, dtype, values}`, and the metadata.
 *
 * `values` is a Float32Array for float types and null for others. Throws an Error where the bytes are no safetensors file. */
export function readTensors(buffer) {
  if (buffer.byteLength < 8) throw new Error("This file is too short to hold a latent.");
  const headerBytes = Number(new DataView(buffer).getBigUint64(0, true));
  if (headerBytes > buffer.byteLength - 8) throw new Error("This file is cut short, or it is no safetensors file.");
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerBytes)));
  } catch {
    throw new Error("This is no safetensors file: its header cannot be read.");
  }
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(entries)) {
    const [start, end] = offsets.map((offset) => offset + 8 + headerBytes);
    const read = READERS[dtype];
    tensors[name] = { shape, dtype, values: read ? read(buffer.slice(start, end)) : null };
  }
  return { tensors, metadata };
}

/** Safetensors bytes of float32 tensors `{name: {shape, values}}`. */
export function writeTensors(tensors, metadata) {
  const header = { __metadata__: metadata };
  let end = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    const start = end;
    end += values.byteLength;
    header[name] = { dtype: "F32", shape, data_offsets: [start, end] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8; // tensors start at a multiple of 8
  const bytes = new Uint8Array(8 + padded + end).fill(32, 8, 8 + padded);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(text, 8);
  let place = 8 + padded;
  for (const { values } of Object.values(tensors)) {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), place);
    place += values.byteLength;
  }
  return bytes;
}

function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
