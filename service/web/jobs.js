// The list of jobs: how far each is, when it will end, what it wrote, and how to stop it.

import { call, hasKey } from "./api.js";
import { NAMED } from "./models.js";
import { announce, asSentence, element, make, makeButton, saveAs, showError } from "./page.js";
import { server } from "./server.js";

const EVERY_MS = 1500;
const WORDS = {
  queued: ["waiting", "waiting"],
  in_progress: ["running", "running"],
  completed: ["done", "done"],
  failed: ["failed", "failed"],
  cancelled: ["cancelled", "cancelled"],
};
const ABOUT = "An evaluation measures a tokenizer or a generator on a data set of the server. Submit one to see it here.";
const ENDINGS = {
  "text/html": "html",
  "application/json": "json",
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "application/vnd.safetensors": "safetensors",
};
const ENDED = new Set(["completed", "failed", "cancelled"]);
const rows = new Map(); // by id: what is shown of each job
let timer = null;
let shown = false;

/** Starts or stops following the jobs, as the view is looked at or not. */
export function followJobs(on) {
  shown = on;
  clearTimeout(timer);
  if (on) readJobs().catch(() => {});
}

/** Reads the list once, and again in a moment while something runs and the page is looked at. */
export async function readJobs() {
  clearTimeout(timer);
  if (!server.limits) return;
  let unfinished = true;
  try {
    const { data } = await (await call("v1/jobs?limit=50")).json();
    showJobs(data);
    unfinished = data.some(({ status }) => !ENDED.has(status));
  } catch (error) {
    if (error.status !== 404) throw error;
    for (const id of rows.keys()) rows.delete(id);
    element("jobs").replaceChildren(emptyList("Jobs are switched off", asSentence(error.message)));
  } finally {
    if (shown) timer = setTimeout(() => readJobs().catch(() => {}), unfinished && !document.hidden ? EVERY_MS : 4 * EVERY_MS);
  }
}

/** Seconds to read: 40 s, 3 min, 2 h 5 min. */
export function formatDuration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function showJobs(jobs) {
  const unfinished = jobs.filter(({ status }) => !ENDED.has(status)).length;
  const all = `${jobs.length} ${jobs.length === 1 ? "job" : "jobs"}`;
  const words = jobs.length === 0 ? "\u00a0" : `${all}, ${unfinished === 0 ? "none" : unfinished} under way.`;
  if (element("jobs-note").textContent !== words) element("jobs-note").textContent = words;
  for (const [id, { root }] of rows) {
    if (jobs.some((job) => job.id === id)) continue;
    root.remove();
    rows.delete(id);
  }
  const empty = element("jobs").querySelector(".empty-list");
  if (jobs.length > 0) empty?.remove();
  else if (!empty) element("jobs").append(emptyList("No jobs yet", ABOUT));
  jobs.forEach((job, place) => {
    if (!rows.has(job.id)) rows.set(job.id, makeRow(job));
    const row = rows.get(job.id);
    if (element("jobs").children[place] !== row.root) element("jobs").insertBefore(row.root, element("jobs").children[place] ?? null);
    update(row, job);
  });
}

function emptyList(title, sentence) {
  return make("li", { className: "empty-list" }, {}, [
    make("strong", { textContent: title }),
    make("span", { textContent: sentence }),
  ]);
}

function makeRow(job) {
  const parts = {
    badge: make("span", { className: "badge" }),
    facts: make("span", { className: "note" }),
    bar: make("progress", { max: 100 }, { "aria-label": `Progress of ${titleOf(job)}` }),
    state: make("p", { className: "note" }),
    error: make("p", { className: "job-error" }),
    metrics: make("div"),
    tools: make("div", { className: "job-tools" }),
    log: make("pre", { className: "log", hidden: true, tabIndex: 0 }, { "aria-label": `Log of ${titleOf(job)}` }),
  };
  const head = make("div", { className: "job-head" }, {}, [make("h2", { textContent: titleOf(job) }), parts.badge, parts.facts]);
  const { bar, state, error, metrics, tools, log } = parts;
  const root = make("li", { className: "job" }, {}, [head, bar, state, error, metrics, tools, log]);
  return { root, ...parts, status: null, logOpen: false, measured: false };
}

function update(row, job) {
  const [state, words] = WORDS[job.status] ?? ["waiting", job.status];
  row.badge.dataset.state = state;
  row.badge.textContent = job.cancelling ? "stopping" : words;
  row.facts.textContent = factsOf(job);
  row.bar.hidden = ENDED.has(job.status) || job.status === "queued";
  if (job.total > 0 || job.progress > 0) row.bar.value = job.progress;
  else row.bar.removeAttribute("value");
  setText(row.state, stateOf(job));
  setText(row.error, job.error?.message ?? "");
  if (row.status !== null && row.status !== job.status && ENDED.has(job.status)) announce(`${titleOf(job)}: ${words}.`);
  if (row.status !== job.status) showTools(row, job);
  row.status = job.status;
  if (row.logOpen && !ENDED.has(job.status)) readLog(row, job).catch(() => {});
  if (job.object === "evaluation" && job.status === "completed" && !row.measured) showMetrics(row, job).catch(() => {});
}

function setText(node, text) {
  node.hidden = text === "";
  if (node.textContent !== text) node.textContent = text;
}

function titleOf({ kind, request }) {
  const what = request?.job ? `Evaluation, ${request.job === "generate" ? "generated pictures" : "reconstruction"}` : kind;
  const title = what.charAt(0).toUpperCase() + what.slice(1);
  const on = [request?.model, request?.data && `on ${request.data}`].filter(Boolean).join(" ");
  return on ? `${title}: ${on}` : title;
}

function factsOf({ created_at: created, started_at: started, completed_at: ended }) {
  const when = new Date(created * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return started && ended ? `${when}, took ${formatDuration(ended - started)}` : when;
}

function stateOf(job) {
  if (ENDED.has(job.status)) return "";
  const words = [];
  if (job.queue_position) words.push(job.queue_position === 1 ? "Next in line" : `Number ${job.queue_position} in line`);
  if (job.phase) words.push(job.phase.charAt(0).toUpperCase() + job.phase.slice(1));
  if (job.total > 0) words.push(`${job.done.toLocaleString("en")} of ${job.total.toLocaleString("en")}`);
  if (job.images_per_s) words.push(`${job.images_per_s.toPrecision(3)} pictures a second`);
  if (job.eta_s !== null && job.eta_s !== undefined) words.push(`about ${formatDuration(job.eta_s)} left`);
  return words.join(" · ");
}

function showTools(row, job) {
  const title = titleOf(job);
  const tools = [];
  if (!ENDED.has(job.status)) {
    tools.push(makeButton("Cancel", () => act("POST", `v1/jobs/${job.id}/cancel`), { label: `Cancel ${title}`, className: "button small danger" }));
  }
  if (job.object === "evaluation" && job.status === "completed") {
    tools.push(reportOf(job, title));
  } else if (job.result) {
    tools.push(makeButton("Save the result", () => save(job.result.replace(/^\//, ""), job.id), { label: `Save the result of ${title}` }));
  }
  if (job.object === "evaluation") {
    const toggle = makeButton("Log", () => toggleLog(row, job, toggle), { label: `Log of ${title}` });
    toggle.setAttribute("aria-expanded", String(row.logOpen));
    tools.push(toggle);
  }
  if (ENDED.has(job.status)) {
    tools.push(makeButton("Delete", () => act("DELETE", `v1/jobs/${job.id}`), { label: `Delete ${title}` }));
  }
  row.tools.replaceChildren(...tools);
}

function toggleLog(row, job, toggle) {
  row.logOpen = !row.logOpen;
  row.log.hidden = !row.logOpen;
  toggle.setAttribute("aria-expanded", String(row.logOpen));
  if (row.logOpen) readLog(row, job).catch((error) => showError(error.message));
}

async function readLog(row, { id }) {
  let text = "";
  try {
    text = await (await call(`v1/evaluations/${id}/log`)).text();
  } catch (error) {
    if (error.status !== 404) throw error; // it has not begun
  }
  const atEnd = row.log.scrollTop + row.log.clientHeight >= row.log.scrollHeight - 8;
  row.log.textContent = text || "Nothing has been written yet.";
  if (atEnd) row.log.scrollTop = row.log.scrollHeight;
}

async function showMetrics(row, { id }) {
  row.measured = true;
  const { metrics } = await (await call(`v1/evaluations/${id}`)).json();
  const entries = Object.entries(metrics ?? {});
  if (entries.length === 0) return;
  row.metrics.replaceChildren(make("table", { className: "metrics" }, {}, [
    make("tbody", {}, {}, entries.map(([name, value]) => make("tr", {}, {}, [
      make("th", { textContent: NAMED[name] ?? name, scope: "row" }),
      make("td", { textContent: typeof value === "number" ? Number(value.toPrecision(5)) : value ?? "not computed, the report says why" }),
    ]))),
  ]));
}

async function act(method, path) {
  try {
    await call(path, { method });
    await readJobs();
  } catch (error) {
    showError(error.message);
  }
}

/** The report in a tab of its own. A key cannot travel with a link: where there is one, the report is saved instead. */
function reportOf({ id }, title) {
  const path = `v1/evaluations/${id}/report`;
  if (hasKey()) return makeButton("Save the report", () => save(path, `report-${id}`), { label: `Save the report of ${title}` });
  const link = { "aria-label": `Report of ${title}, in a new tab` };
  return make("a", { className: "button small", textContent: "Report", href: path, target: "_blank", rel: "noopener" }, link);
}

async function save(path, name) {
  try {
    const response = await call(path);
    const type = (response.headers.get("content-type") ?? "").split(";")[0];
    saveAs(await response.blob(), `${name}.${ENDINGS[type] ?? "bin"}`);
  } catch (error) {
    showError(error.message);
  }
}
