// Talks to the server: one function for requests, one error for everything that can go wrong.

const MAX_TRIES = 20; // a full server says when to come back; whoever waits can stop
const KEY_SLOT = "tessera-key";

/** Any failure; the message is the server's own sentence where it gave one. */
export class ServerError extends Error {
  constructor(message, { status = 0, code = "unreachable", retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** Replaced by the page: `askForKey(error)` gives a key or null, `onBusy(sentence, seconds)` is told of waiting. */
export const hooks = {
  askForKey: async () => null,
  onBusy: () => {},
};

let asking = null;
let kept = "";

/** The response of `path`, waiting when the server is full and asking for a key when it wants one.
 *
 * Throws a ServerError, or an AbortError when `signal` fires. */
export async function call(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const key = storedKey();
    const sent = key ? { ...headers, authorization: `Bearer ${key}` } : headers;
    const response = await send(path, { method, body, headers: sent, signal });
    if (response.ok) return response;
    const error = await errorOf(response);
    if (attempt >= MAX_TRIES) throw error;
    if (error.status === 401) {
      if (!(await freshKey(key, error))) throw error;
    } else if (error.retryAfter !== null) {
      hooks.onBusy(error.message, error.retryAfter);
      await pause(error.retryAfter * 1000, signal);
    } else {
      throw error;
    }
  }
}

/** Whether requests carry a key; a link cannot. */
export function hasKey() {
  return storedKey() !== "";
}

/** Resolves once the server says it is ready; `onWaiting(error)` hears why not until then. */
export async function ready(onWaiting) {
  for (;;) {
    try {
      const response = await send("health/ready", {});
      if (response.ok) return;
      onWaiting(await errorOf(response));
    } catch (error) {
      onWaiting(error);
    }
    await pause(1000);
  }
}

/** Waits, or throws an AbortError as soon as `signal` fires. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

async function send(path, options) {
  try {
    return await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Check that it is still running.");
  }
}

async function errorOf(response) {
  const milliseconds = Number.parseFloat(response.headers.get("retry-after-ms") ?? "");
  const whole = Number.parseFloat(response.headers.get("retry-after") ?? "");
  const seconds = Number.isFinite(milliseconds) ? milliseconds / 1000 : whole;
  const retryAfter = Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0.2), 30) : null;
  try {
    const { message, code } = (await response.json()).error;
    return new ServerError(message, { status: response.status, code, retryAfter });
  } catch {
    const message = `The server answered ${response.status} and gave no reason. Try again, or ask whoever runs it.`;
    return new ServerError(message, { status: response.status, code: "unexplained", retryAfter });
  }
}

/** Asks once, however many requests were refused; true when there is a key other than `refused` to try. */
async function freshKey(refused, error) {
  if (storedKey() !== refused) return storedKey() !== "";
  asking ??= hooks.askForKey(error).finally(() => { asking = null; });
  const key = await asking;
  if (!key) return false;
  keep(key);
  return true;
}

/** The key of this tab; a browser that stores nothing keeps it as long as the page. */
function storedKey() {
  try {
    return sessionStorage.getItem(KEY_SLOT) ?? kept;
  } catch {
    return kept;
  }
}

function keep(key) {
  kept = key;
  try {
    sessionStorage.setItem(KEY_SLOT, key);
  } catch {
    // The page remembers it.
  }
}
