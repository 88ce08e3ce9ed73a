"""evaluate, and jobs: list, show, wait, cancel, delete, result, log, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.commands import write_rows
from service.cli.files import STREAM, Task, Usage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from service.client import Client, Job

REPORT_SUFFIXES = {".html": "html", ".json": "json", ".csv": "csv", ".png": "png", ".npz": "npz"}


def evaluate(client: Client, asked: argparse.Namespace) -> int:
    """Start an evaluation, wait for it, and write its numbers or its report."""
    wanted = {
        "data": asked.data,
        "job": asked.job,
        "model": asked.model,
        "protocol": asked.protocol,
        "metrics": asked.metrics,
        "num_images": asked.num_images,
        "resolution": asked.resolution,
        "batch_size": asked.batch_size,
    }
    job = client.evaluations.create(idempotency_key=asked.idempotency_key, **wanted)
    if asked.no_wait:
        return _show(job, asked)
    if not asked.quiet:
        sys.stderr.write(f"{job.id}: if this ends, `jobs wait {job.id}` goes on waiting\n")
    job = client.evaluations.wait(job.id, progress=not asked.quiet)
    for out in asked.out or ():
        _save_report(client, job.id, out)
    if asked.json:
        return _show(job, asked)
    for name, value in job.metrics.items():
        sys.stdout.write(f"{name}: {'not computed' if value is None else value}\n")
    return 0


def jobs(client: Client, asked: argparse.Namespace) -> int:
    """What ``jobs`` is asked to do."""
    return ACTIONS[asked.action](client, asked)


def _list(client: Client, asked: argparse.Namespace) -> int:
    found = list(client.jobs.list(status=asked.status))
    if asked.json:
        sys.stdout.write(json.dumps([dict(job.facts) for job in found], indent=1) + "\n")
        return 0
    write_rows([("id", "kind", "status", "progress", "left"), *(_row(job) for job in found)])
    return 0


def _wait(client: Client, asked: argparse.Namespace) -> int:
    return _show(client.jobs.wait(_id(asked), progress=not asked.quiet), asked)


def _result(client: Client, asked: argparse.Namespace) -> int:
    Task(None, _target(asked)).write(client.jobs.result(_id(asked)))
    return 0


def _log(client: Client, asked: argparse.Namespace) -> int:
    sys.stdout.write(client.evaluations.log(_id(asked)))
    return 0


def _report(client: Client, asked: argparse.Namespace) -> int:
    if asked.out is None or asked.out == STREAM:
        Task(None, None).write(client.evaluations.report(_id(asked), "json"))
    else:
        _save_report(client, _id(asked), asked.out)
    return 0


def _delete(client: Client, asked: argparse.Namespace) -> int:
    client.jobs.delete(_id(asked))
    return 0


def _save_report(client: Client, job_id: str, out: str) -> None:
    file_format = REPORT_SUFFIXES.get(Path(out).suffix.lower())
    if file_format is None:
        raise Usage(f"{out}: a report is one of {', '.join(REPORT_SUFFIXES)}")
    body: bytes = client.evaluations.report(job_id, file_format)  # type: ignore[arg-type]  # of the table above
    Task(None, Path(out)).write(body)


def _show(job: Job, asked: argparse.Namespace) -> int:
    if asked.json:
        sys.stdout.write(json.dumps(dict(job.facts), indent=1) + "\n")
    else:
        write_rows([("id", "kind", "status", "progress", "left"), _row(job)])
        if job.message:
            sys.stdout.write(job.message + "\n")
    return 0


def _row(job: Job) -> tuple[str, ...]:
    left = "" if job.eta_s is None else f"{job.eta_s:.0f} s"
    place = f"{job.queue_position}. in line" if job.queue_position is not None else f"{job.progress} %"
    return job.id, job.kind, job.status, place, left


def _id(asked: argparse.Namespace) -> str:
    if asked.id is None:
        raise Usage(f"jobs {asked.action} needs the id of a job: `jobs list` shows them")
    return str(asked.id)


def _target(asked: argparse.Namespace) -> Path | None:
    return None if asked.out in (None, STREAM) else Path(asked.out)


ACTIONS: dict[str, Callable[[Client, Any], int]] = {  # the namespace of argparse
    "list": _list,
    "show": lambda client, asked: _show(client.jobs.get(_id(asked)), asked),
    "wait": _wait,
    "cancel": lambda client, asked: _show(client.jobs.cancel(_id(asked)), asked),
    "delete": _delete,
    "result": _result,
    "log": _log,
    "report": _report,
}
