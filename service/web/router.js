// One page, several views. The address behind # names the view and its settings: #generate?label=3&seed=7.

import { element } from "./page.js";

const HOME = "reconstruct";
const views = new Map(); // name -> called with its settings (URLSearchParams) when the address leads there
const absent = new Set(); // views that this server is known to have no routes for

/** A view by the name of its section (`view-NAME`) and its link; `arrive(settings)` runs when an address leads to it. */
export function addView(name, arrive) {
  views.set(name, arrive);
}

/** Takes a view that this server has no routes for out of the page, or puts it back. */
export function offerView(name, offered) {
  if (offered) absent.delete(name);
  else absent.add(name);
  document.querySelector(`.views [href="#${name}"]`).hidden = !offered;
  const { view } = address();
  if (view === name && shownView() !== name && offered) follow({ moved: false });
  else if (shownView() === name && !offered) follow({ moved: false });
}

/** Follows the address now and whenever it changes. Call once, after every addView. */
export function startRouter() {
  addEventListener("hashchange", () => follow({ moved: true }));
  follow({ moved: false });
}

/** Goes to a view as if its link had been followed. */
export function go(view, settings = {}) {
  const wanted = hashOf(view, settings);
  if (location.hash === wanted) follow({ moved: true });
  else location.hash = wanted;
}

/** Writes a view's settings into the address, so that it can be shared; the view stays as it is. */
export function remember(view, settings) {
  if (shownView() === view) history.replaceState(null, "", hashOf(view, settings));
}

/** The view that is shown. */
export function shownView() {
  return document.body.dataset.view;
}

/** The address of a view with settings; empty ones are left out. */
export function hashOf(view, settings) {
  const kept = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept).toString();
  return query ? `#${view}?${query}` : `#${view}`;
}

function address() {
  const [name, query = ""] = decodeURI(location.hash.slice(1)).split("?");
  return { view: name || HOME, settings: new URLSearchParams(query) };
}

function follow({ moved }) {
  const { view, settings } = address();
  const known = views.has(view) && !absent.has(view) ? view : HOME;
  for (const name of views.keys()) {
    element(`view-${name}`).hidden = name !== known;
    const link = document.querySelector(`.views [href="#${name}"]`);
    if (name === known) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = element(`view-${known}`).querySelector("h1");
  const changed = shownView() !== known;
  document.body.dataset.view = known;
  document.title = known === HOME ? "Tessera" : `${heading.textContent} · Tessera`;
  if (moved && changed) {
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
  views.get(known)(known === view ? settings : new URLSearchParams());
}
