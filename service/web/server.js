// What the server is: whether it is ready, which models it has, its limits, and which routes it answers.

import { call, ready } from "./api.js";
import { setServerState } from "./page.js";

/** What is known of the server; `null` until it answered. Filled before anyone who waits for serverReady goes on. */
export const server = { tokenizers: [], generators: [], limits: null, memory: null, interface: null };

const listeners = [];
const watchers = new Set();
let readiness = null;
let refused = null; // the last word while it is waited for: true where it did not answer at all

/** Calls `listener` now and whenever the models are read anew. */
export function onModels(listener) {
  listeners.push(listener);
}

/** Resolves when the server is ready and its models are known; a server that went away is waited for anew.
 *
 * `waiting(unreachable)` hears, every time it is asked in vain, whether it answers at all. */
export async function serverReady(waiting = () => {}) {
  readiness ??= connect().catch((error) => {
    readiness = null;
    throw error;
  });
  watchers.add(waiting);
  if (refused !== null) waiting(refused);
  try {
    await readiness;
  } finally {
    watchers.delete(waiting);
  }
}

/** The next serverReady asks again. */
export function forgetServer() {
  readiness = null;
}

/** Reads the models again, after one was loaded or taken away. */
export async function readModels() {
  const { data, limits, memory } = await (await call("v1/models")).json();
  server.tokenizers = data.filter(({ kind }) => kind === "tokenizer");
  server.generators = data.filter(({ kind }) => kind === "generator");
  server.limits = limits;
  server.memory = memory ?? null;
  for (const listener of listeners) listener(server);
}

/** Whether the server answers this method at this path of its OpenAPI document. */
export function offers(method, path) {
  return Boolean(server.interface?.paths?.[path]?.[method]);
}

/** The properties that a schema of the OpenAPI document names; none where it has no such schema. */
export function fieldsOf(schema) {
  return server.interface?.components?.schemas?.[schema]?.properties ?? {};
}

/** The names of the parameters of one route of the OpenAPI document. */
export function parametersOf(method, path) {
  return (server.interface?.paths?.[path]?.[method]?.parameters ?? []).map(({ name }) => name);
}

async function connect() {
  await ready(({ code }) => {
    const unreachable = code === "unreachable";
    setServerState(unreachable ? "trouble" : "waiting", unreachable ? "No answer" : "Loading");
    refused = unreachable;
    for (const waiting of watchers) waiting(unreachable);
  });
  refused = null;
  server.interface = await (await call("openapi.json")).json();
  await readModels();
  setServerState("ready", "Ready");
}
