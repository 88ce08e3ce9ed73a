"""What callers see of a job: the row, its place in the line, and when it will end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.jobs.record import STATUS
from service.jobs.shapes import JobAnswer, JobError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.jobs.record import JobRecord, Progress

# What is kept of a request for the server alone.
HIDDEN = ("headers",)


def answer_of(
    record: JobRecord, shape: str, *, progress: Progress, position: int | None, eta_s: float | None
) -> dict[str, object]:
    """A job as answers show it, without what only evaluations have.

    Args:
        record: its row.
        shape: the kind's.
        progress: the latest news, which may be younger than the row.
        position: in the line.
        eta_s: to its end.
    """
    error = record.error
    done = record.state == "succeeded"
    return JobAnswer.model_validate(
        {
            "id": record.id,
            "object": shape,
            "kind": record.kind,
            "status": STATUS[record.state],
            "progress": 100 if done else progress.percent,
            "created_at": int(record.created_at),
            "started_at": _whole(record.started_at),
            "completed_at": _whole(record.ended_at),
            "expires_at": _whole(record.expires_at),
            "queue_position": position,
            "eta_s": None if eta_s is None else round(eta_s, 1),
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
            "images_per_s": progress.images_per_s,
            "attempts": record.attempts,
            "cancelling": record.cancel_asked and not record.finished,
            "error": error and JobError(code=str(error["code"]), message=str(error["message"])),
            "request": {name: value for name, value in record.request.items() if name not in HIDDEN},
            "result": f"/v1/jobs/{record.id}/result" if done else None,
            "media_type": record.result.media_type if record.result else None,
        }
    ).model_dump(mode="json")


def position_of(record: JobRecord, ahead: Sequence[JobRecord]) -> int | None:
    """Place among those that wait, 1 is next; None for a job that has started."""
    if record.state != "queued":
        return None
    return 1 + sum(other.state == "queued" for other in ahead)


def eta_of(
    record: JobRecord,
    ahead: Sequence[JobRecord],
    *,
    now: float,
    typical_s: Mapping[str, float | None],
    news: Mapping[str, Progress],
    places: int,
) -> float | None:
    """Seconds until a job ends; None where nothing is known to tell it from.

    Those before it are taken to run on ``places`` places without gaps.

    Args:
        record: the job.
        ahead: those that run in its lane, then those that wait before it.
        now: Unix seconds.
        typical_s: what a job of a kind takes.
        news: progress by id, younger than the rows.
        places: jobs of the lane that run at once.
    """
    if record.finished:
        return None
    if record.state == "running":
        return _left(record, now, typical_s, news)
    own = typical_s.get(record.kind)
    if own is None:
        return None
    before = 0.0
    for other in ahead:
        left = _left(other, now, typical_s, news) if other.state == "running" else typical_s.get(other.kind)
        if left is None:
            return None
        before += left
    return before / places + own


def _left(
    record: JobRecord, now: float, typical_s: Mapping[str, float | None], news: Mapping[str, Progress]
) -> float | None:
    progress = news.get(record.id, record.progress)
    if progress.eta_s is not None:
        return progress.eta_s
    spent = max(0.0, now - (record.started_at or now))
    if 0 < progress.done <= progress.total:
        return spent * (progress.total - progress.done) / progress.done
    usual = typical_s.get(record.kind)
    return None if usual is None else max(0.0, usual - spent)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
