"""An evaluation: ``eval.reconstruct`` or ``eval.generate`` in a process of its own, at low priority.

A model is measured through this server (``tokenizer=http://...``), at batch priority, so its weights are in memory
once. Data sets are named; the process sees them as links in the job's folder, so no report tells where they lie.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from service.jobs.child import Child
from service.jobs.folders import size_of
from service.jobs.kind import Again, Refused
from service.jobs.record import Progress, Result
from service.jobs.shapes import EvaluationRequest

if TYPE_CHECKING:
    from service.jobs.kind import Run
    from service.jobs.record import JobRecord, Json, Lane
    from service.jobs.surroundings import Surroundings

ROOT = Path(__file__).resolve().parents[3]
OUT = "out"
PROGRESS = "progress.jsonl"
REPORT = f"{OUT}/report.json"
TAIL_BYTES = 4096
POLL_S = 0.5
NOT_READY_S = 3.0
REFUSED_STATUS = 2  # a job of ours that cannot run as asked: its last line says why
OPTIONS = {
    "reconstruct": {
        "also": "also",
        "resolution": "data.resolution",
        "num_images": "data.max_images",
        "on_corrupt": "data.on_corrupt",
    },
    "generate": {
        "num_images": "num_images",
        "on_corrupt": "data.on_corrupt",
        "seed": "seed",
        "num_steps": "num_steps",
        "guidance": "guidance",
    },
}
SHARED = ("protocol", "metrics", "require", "batch_size")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The kind."""

    name: str = "evaluation"
    shape: Literal["job", "evaluation"] = "evaluation"
    lane: Lane = "processes"

    async def run(self, run: Run) -> Result:
        """Start the process, or find the one that an earlier server started, and wait for its end."""
        child = Child(run.folder)
        starting = None
        watch = asyncio.create_task(_watch(run))
        try:
            if not await asyncio.to_thread(lambda: child.running or child.status is not None):
                if not run.around.is_ready():
                    raise Again(NOT_READY_S)
                starting = asyncio.create_task(asyncio.to_thread(start, child, run))
                await asyncio.shield(starting)
            status = await child.wait()
        except asyncio.CancelledError:
            if starting is not None:  # a thread cannot be cancelled: what it starts is ended then
                await asyncio.wait([starting])
            await asyncio.to_thread(child.stop)
            raise
        finally:
            watch.cancel()
        if status is None:  # killed together with its shell: by the machine, or by whoever killed the server
            raise Again(0.0, interrupted=True)
        if status != 0:
            raise Refused(_why(child, status, run.record.id))
        num_bytes = await asyncio.to_thread(size_of, run.folder)
        return Result(REPORT, "application/json", {}, num_bytes)

    async def discard(self, run: Run) -> None:
        """End a process that an earlier server has left."""
        await asyncio.to_thread(Child(run.folder).stop)

    def shown(self, record: JobRecord, folder: Path) -> Json:
        """Where report and log are, and the numbers of the report."""
        address = f"/v1/evaluations/{record.id}"
        done = record.state == "succeeded"
        return {
            "metrics": metrics_of(folder / REPORT) if done else {},
            "report": f"{address}/report" if done else None,
            "log": f"{address}/log",
        }


EVALUATION = Evaluation()


def start(child: Child, run: Run) -> None:
    """Make the links and start the process."""
    (run.folder / OUT).mkdir(exist_ok=True)
    (run.folder / OUT / PROGRESS).unlink(missing_ok=True)
    request = EvaluationRequest.parse(run.record.request)
    if request.data not in run.around.data:
        message = f"the data set {request.data!r} is gone: GET /v1/evaluations/data lists those there are"
        raise Refused({"code": "unknown_data_set", "message": message})
    links = {f"data/{request.data}": run.around.data[request.data]}
    if request.through == "folder":
        tokenizer = request.model
        if request.job == "generate":
            generator = run.around.registry.generator(request.model)
            links["models/generator"], tokenizer = generator.path, generator.tokenizer
        links["models/tokenizer"] = run.around.registry.tokenizer(tokenizer).path
    for name, target in links.items():
        link = run.folder / name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve(), target_is_directory=True)
    child.start(command(request, run.around.url()), environment(run.around))


def command(request: EvaluationRequest, url: str) -> list[str]:
    """The command line of an evaluation, as it runs in the job's folder.

    Args:
        request: with the model named.
        url: of this server.
    """
    values: Json = {"data.path": f"data/{request.data}", "out": OUT}
    measured = "tokenizer" if request.job == "reconstruct" else "generator"
    if request.through == "server":
        values[measured] = f"{url}#{request.model}"
    else:
        values |= {name: f"models/{name}" for name in {measured, "tokenizer"}}
    names = {name: name for name in SHARED} | OPTIONS[request.job]
    asked = request.model_dump(mode="json")
    values |= {key: asked[name] for name, key in names.items() if asked[name] not in (None, [])}
    # Values are JSON, which is YAML: no text of the caller is read as anything but text.
    options = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return [sys.executable, "-P", "-m", f"eval.{request.job}", *options]


def environment(around: Surroundings) -> dict[str, str]:
    """The process's environment: this one's without settings and keys of the service, and its own key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    if "TESSERA_WEIGHTS" in os.environ:  # of metrics
        kept["TESSERA_WEIGHTS"] = os.environ["TESSERA_WEIGHTS"]
    if around.has_keys:
        kept["TESSERA_API_KEY"] = around.key
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "10"}


def read_progress(path: Path) -> Progress | None:
    """What the last whole line says; None before there is one. See ``eval/progress.py``."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            lines = stream.read().split(b"\n")
    except FileNotFoundError:
        return None
    for line in reversed(lines[:-1]):  # the last one may be half written
        try:
            told = json.loads(line)
            return Progress(
                int(told["done"]), int(told["total"]), str(told["phase"]), told["images_per_s"], told["eta_s"]
            )
        except (ValueError, KeyError, TypeError):
            continue
    return None


def metrics_of(report: Path) -> dict[str, float | str | None]:
    """Values of a report by metric: a number, text where JSON has none (inf), None for what was not computed."""
    entries = json.loads(report.read_text())["metrics"]
    return {name: entry.get("value") for name, entry in entries.items()}


async def _watch(run: Run) -> None:
    last = None
    while True:
        now = await asyncio.to_thread(read_progress, run.folder / OUT / PROGRESS)
        if now is not None and now != last:
            run.report(now)
            last = now
        await asyncio.sleep(POLL_S)


def _why(child: Child, status: int, job_id: str) -> Json:
    words = child.last_words().removeprefix("eval.reconstruct: ").removeprefix("eval.generate: ")
    if status == REFUSED_STATUS:
        return {"code": "evaluation_refused", "message": words[:2000]}
    ended = f"signal {status - 128}" if status > 128 else f"status {status}"
    message = (
        f"the evaluation ended with {ended} ({words[:500]}): GET /v1/evaluations/{job_id}/log has all it said"
    )
    return {"code": "evaluation_failed", "message": message}
