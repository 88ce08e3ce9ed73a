"""Examples of what is sent and answered about jobs, for the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.jobs.record import Json

JOB: Json = {
    "id": "job_0123456789abcdef01234567",
    "object": "job",
    "kind": "generate",
    "status": "in_progress",
    "progress": 40,
    "created_at": 1767225600,
    "started_at": 1767225602,
    "completed_at": None,
    "expires_at": None,
    "queue_position": None,
    "eta_s": 3.5,
    "phase": "steps",
    "done": 20,
    "total": 50,
    "images_per_s": None,
    "attempts": 1,
    "cancelling": False,
    "error": None,
    "request": {"path": "/v1/generate", "query": ""},
    "result": None,
    "media_type": None,
}
REQUEST: Json = {"data": "photos", "model": "demo", "protocol": "canon-v1", "num_images": 1000}
EVALUATION: Json = JOB | {
    "id": "eval_0123456789abcdef01234567",
    "object": "evaluation",
    "kind": "evaluation",
    "phase": "reconstruct",
    "done": 400,
    "total": 1000,
    "images_per_s": 60.5,
    "eta_s": 9.9,
    "request": REQUEST | {"job": "reconstruct"},
    "metrics": {},
    "report": None,
    "log": "/v1/evaluations/eval_0123456789abcdef01234567/log",
}


def _page(job: Json) -> Json:
    ends = {"first_id": job["id"], "last_id": job["id"], "has_more": False}
    return {"one": {"summary": "A page of one", "value": {"object": "list", "data": [job], **ends}}}


def _one(summary: str, value: Json) -> Json:
    return {"one": {"summary": summary, "value": value}}


# By the name of their schema.
EXAMPLES: dict[str, Json] = {
    "EvaluationRequest": {
        "tokenizer": {"summary": "Measure a tokenizer on 1000 pictures", "value": REQUEST},
        "generator": {
            "summary": "Measure what a generator makes",
            "value": {"job": "generate", "data": "photos", "num_images": 200, "guidance": 4.0},
        },
    },
    "JobAnswer": _one("A generation that runs", JOB),
    "EvaluationAnswer": _one("An evaluation that runs", EVALUATION),
    "JobsAnswer": _page(JOB),
    "EvaluationsAnswer": _page(EVALUATION),
    "DeletedAnswer": _one("Gone", {"id": JOB["id"], "object": "job.deleted", "deleted": True}),
    "DataAnswer": _one("Two data sets", {"data": ["photos", "textures"]}),
}
