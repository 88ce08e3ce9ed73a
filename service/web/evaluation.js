// The form that submits an evaluation, made from what the server says it takes.

import { call } from "./api.js";
import { readJobs } from "./jobs.js";
import { announce, clearError, element, fillSelect, randomSeed, working } from "./page.js";
import { fieldsOf, offers, server } from "./server.js";

/** Connects the form. Call once. */
export function connectEvaluation(onFailure) {
  for (const radio of document.querySelectorAll('input[name="job"]')) radio.addEventListener("change", showModels);
  element("job-form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit().catch(onFailure);
  });
}

/** Fills the form: models of the kind that is measured, and the data sets that the server can reach. */
export async function showEvaluation() {
  element("job-form").hidden = !offers("post", "/v1/evaluations");
  if (element("job-form").hidden) return;
  showModels();
  const protocol = fieldsOf("EvaluationRequest").protocol?.default;
  if (protocol && element("job-protocol").value === "") element("job-protocol").value = protocol;
  let data;
  try {
    ({ data } = await (await call("v1/evaluations/data")).json());
  } catch (error) {
    if (error.status !== 404) throw error;
    element("job-form").hidden = true; // jobs are switched off; the list says so
    return;
  }
  fillSelect(element("job-data"), data.map((name) => [name, name]), element("job-data").value);
  element("job-submit").disabled = data.length === 0;
  element("job-hint").textContent = data.length === 0
    ? "This server knows no data set yet. Whoever runs it names folders of pictures in TESSERA_DATA (name=folder)."
    : "It runs beside the requests and gives way to them.";
}

function chosenJob() {
  return document.querySelector('input[name="job"]:checked').value;
}

function showModels() {
  const models = chosenJob() === "generate" ? server.generators : server.tokenizers;
  const chosen = models.find((entry) => entry.default) ?? models[0];
  fillSelect(element("job-model"), models.map(({ name }) => [name, name]), chosen?.name);
  document.querySelector('input[name="job"][value="generate"]').disabled = server.generators.length === 0;
}

async function submit() {
  const body = {
    job: chosenJob(),
    model: element("job-model").value,
    data: element("job-data").value,
    protocol: element("job-protocol").value.trim(),
  };
  const count = element("job-count").value.trim();
  if (count !== "") body.num_images = Number(count);
  await working(() => call("v1/evaluations", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", "idempotency-key": `page-${Date.now()}-${randomSeed()}` },
  }));
  clearError();
  announce("The evaluation is submitted.");
  await readJobs();
}
