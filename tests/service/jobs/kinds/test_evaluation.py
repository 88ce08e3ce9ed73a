"""Evaluations: the command line, the process that outlives its server, and the numbers through the server."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from diffusion.pipeline import Pipeline
from eval.data import DataConfig
from eval.progress import Progress as Bar
from eval.reconstruct import run as reconstruct
from eval.settings import ReconstructConfig
from service.jobs.child import Child
from service.jobs.kind import Again, Refused, Run
from service.jobs.kinds import evaluation
from service.jobs.kinds.evaluation import EVALUATION, PROGRESS, command, environment, read_progress
from service.jobs.record import Progress, Result
from service.jobs.shapes import EvaluationRequest
from service.jobs.surroundings import Surroundings
from tests.service.conftest import Server, as_pixels
from tests.service.jobs.conftest import OpenStore, new, no_app
from tests.service.jobs.kinds.conftest import wait

REQUEST = {"data": "photos", "model": "tiny", "num_images": 6, "resolution": 32, "metrics": ["psnr", "ssim"]}
URL = "http://127.0.0.1:8000"


def options(**asked: Any) -> dict[str, Any]:
    """The command line of a request, as the job's own parser would read it."""
    words = command(EvaluationRequest.parse({"data": "photos", "model": "tiny"} | asked), URL)
    assert words[:2] == [sys.executable, "-P"]
    pairs = (word.partition("=") for word in words[4:])
    return {"job": words[3]} | {key: yaml.safe_load(value) for key, _, value in pairs}


def test_commands() -> None:
    assert options(**REQUEST, also=["dc-ae"]) == {
        **{"job": "eval.reconstruct", "tokenizer": f"{URL}#tiny", "data.path": "data/photos", "out": "out"},
        **{"protocol": "canon-v1", "also": ["dc-ae"], "metrics": ["psnr", "ssim"], "data.max_images": 6},
        **{"data.resolution": 32, "data.on_corrupt": "fail", "batch_size": 16},
    }
    assert options(through="folder")["tokenizer"] == "models/tokenizer"
    made = options(job="generate", model="shapes", num_images=3, seed=0, guidance=2.5)
    assert (made["job"], made["generator"]) == ("eval.generate", f"{URL}#shapes")
    assert "tokenizer" not in made
    beside = options(job="generate", model="shapes", through="folder")
    assert (beside["generator"], beside["tokenizer"]) == ("models/generator", "models/tokenizer")
    assert (made["num_images"], made["seed"], made["guidance"]) == (3, 0, 2.5)
    assert "num_steps" not in made


def test_the_jobs_themselves_take_these_words() -> None:
    words = command(EvaluationRequest.parse(REQUEST), URL)[4:]
    config = ReconstructConfig.load(None, words)
    assert (config.tokenizer, config.data.max_images, config.metrics) == (f"{URL}#tiny", 6, ("psnr", "ssim"))


def test_names_are_text_whatever_they_look_like() -> None:
    assert options(data="1e3", model="null")["data.path"] == "data/1e3"
    assert options(metrics=["1", "true"])["metrics"] == ["1", "true"]


def test_the_environment_holds_no_secret_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_API_KEYS", "secret")
    monkeypatch.setenv("TESSERA_WEIGHTS", "/weights")
    around = Surroundings(no_app, None, {}, lambda: URL, "own", True, bool, bool)  # type: ignore[arg-type]
    found = environment(around)
    assert {name: value for name, value in found.items() if name.startswith("TESSERA_")} == {
        "TESSERA_WEIGHTS": "/weights",
        "TESSERA_API_KEY": "own",
    }
    assert "TESSERA_API_KEY" not in environment(replace(around, has_keys=False))


def test_progress_is_the_last_whole_line(tmp_path: Path) -> None:
    assert read_progress(tmp_path / PROGRESS) is None
    with Bar(tmp_path, "reconstruct", 10) as bar:
        bar.update(4)
    found = read_progress(tmp_path / PROGRESS)
    assert found is not None
    assert (found.phase, found.done, found.total) == ("reconstruct", 4, 10)
    assert found.images_per_s is not None
    with (tmp_path / PROGRESS).open("a") as stream:
        stream.write("nonsense\n" + json.dumps({"phase": "half"})[:-3])
    assert read_progress(tmp_path / PROGRESS) == found


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A run whose process is a shell script in place of ``eval.reconstruct``."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    folder = tmp_path / "job"
    folder.mkdir()
    registry = SimpleNamespace(tokenizer=lambda _: SimpleNamespace(path=tmp_path / "tiny"))

    def make(script: str, news: list[Progress] | None = None, ready: bool = True) -> Run:
        monkeypatch.setattr(evaluation, "command", lambda *_: ["sh", "-c", script])
        record, _ = open_store().add(new(1, request=EvaluationRequest.parse(REQUEST).model_dump(mode="json")))
        around = Surroundings(
            *(no_app, registry, {"photos": pictures}, lambda: URL, "own", False, lambda: ready, bool)  # type: ignore[arg-type]
        )
        return Run(record, folder, around, [].append if news is None else news.append)

    return make


LINE = '{"phase": "reconstruct", "done": 3, "total": 6, "images_per_s": 2.0, "eta_s": 1.5}'


def test_a_process_that_ends_well(make_run: MakeRun) -> None:
    news: list[Progress] = []
    run = make_run(
        f"echo '{LINE}' > out/{PROGRESS}; echo '{{}}' > out/report.json; sleep 1; ls data/photos", news
    )
    result = asyncio.run(EVALUATION.run(run))
    assert (result.file, result.media_type) == ("out/report.json", "application/json")
    assert news == [Progress(3, 6, "reconstruct", 2.0, 1.5)]


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("echo 'eval.reconstruct: no such protocol' >&2; exit 2", "evaluation_refused", "no such protocol"),
        ("echo last words >&2; exit 1", "evaluation_failed", r"status 1 \(last words\)"),
        ("kill -9 $$", "evaluation_failed", "signal 9"),
    ],
)
def test_a_process_that_does_not(make_run: MakeRun, script: str, code: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        asyncio.run(EVALUATION.run(make_run(script)))
    assert caught.value.error["code"] == code


def test_it_waits_for_the_models(make_run: MakeRun) -> None:
    with pytest.raises(Again) as caught:
        asyncio.run(EVALUATION.run(make_run("true", ready=False)))
    assert not caught.value.interrupted


def test_a_process_that_was_killed_with_everything_is_started_again(make_run: MakeRun) -> None:
    run = make_run("echo started; kill -9 $PPID $$")  # the shell that would write the status, too
    with pytest.raises(Again) as caught:
        asyncio.run(EVALUATION.run(run))
    assert caught.value.interrupted
    with pytest.raises(Again):
        asyncio.run(EVALUATION.run(run))
    assert (run.folder / "log").read_text().count("started") == 2


def test_what_it_kept_is_there_when_it_is_started_again(make_run: MakeRun) -> None:
    """The evaluation goes on from the shards in its folder; only the telling of its progress begins anew."""
    run = make_run(
        f"if [ -e out/parts/one ]; then echo '{{}}' > out/report.json; exit; fi; "
        f"mkdir out/parts; touch out/parts/one; echo '{LINE}' > out/{PROGRESS}; kill -9 $PPID $$"
    )
    with pytest.raises(Again):
        asyncio.run(EVALUATION.run(run))
    assert asyncio.run(EVALUATION.run(run)).file == "out/report.json"
    assert not (run.folder / "out" / PROGRESS).exists()


def test_the_next_server_finds_the_process_and_does_not_start_another(make_run: MakeRun) -> None:
    run = make_run("echo started; while [ ! -e go ]; do sleep 0.05; done")

    async def course() -> Result:
        first = asyncio.create_task(EVALUATION.run(run))
        while not (run.folder / "log").exists():
            await asyncio.sleep(0.02)
        second = asyncio.create_task(EVALUATION.run(run))  # as a server that knows nothing of the first
        await asyncio.sleep(0.5)
        assert not second.done()
        (run.folder / "go").touch()
        assert await first == await second
        return await EVALUATION.run(run)  # ended while no server ran: the status is there

    asyncio.run(course())
    assert (run.folder / "log").read_text().count("started") == 1


def test_cancelling_ends_the_process(make_run: MakeRun) -> None:
    run = make_run("sleep 60")

    async def course() -> None:
        task = asyncio.create_task(EVALUATION.run(run))
        while not Child(run.folder).running:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(course())
    assert not Child(run.folder).running


def test_discard_ends_what_was_left(make_run: MakeRun) -> None:
    run = make_run("sleep 60")
    left = Child(run.folder)
    left.start(["sleep", "60"], {"PATH": os.environ["PATH"]})
    asyncio.run(EVALUATION.discard(run))
    assert not left.running


@pytest.mark.slow
def test_numbers_through_the_server_are_those_of_the_folder(
    server: Server, models: dict[str, Path], photographs: Path, tmp_path: Path
) -> None:
    """One evaluation over HTTP as a job, and one of the same model from its folder, here."""
    started = server.post("/v1/evaluations", json=REQUEST)
    assert started.status_code == 202, started.text
    address = started.headers["location"]
    job = wait(server, started.json()["id"])
    log = server.get(f"{address}/log").text
    assert job["status"] == "completed", log
    found = server.get(address).json()
    config = ReconstructConfig(
        tokenizer=str(models["tiny"]),
        data=DataConfig(path=photographs, resolution=32, max_images=6),
        out=tmp_path,
        metrics=("psnr", "ssim"),
        device="cpu",
    )
    local = json.loads(reconstruct(config).to_text())
    report = server.get(f"{address}/report", params={"format": "json"}).json()
    assert report["data"]["content"] == local["data"]["content"]
    assert report["tokenizer"]["spec_id"] == local["tokenizer"]["spec_id"]
    assert report["protocol"]["hash"] == local["protocol"]["hash"]
    assert abs(report["metrics"]["psnr"]["value"] - local["metrics"]["psnr"]["value"]) < 1e-3  # dB
    assert abs(report["metrics"]["ssim"]["value"] - local["metrics"]["ssim"]["value"]) < 1e-4
    assert found["metrics"] == {name: entry["value"] for name, entry in report["metrics"].items()}
    assert report["speed"]["encode_request_p50_ms"] > report["speed"]["encode_network_p50_ms"] > 0
    assert report["speed"]["decode_request_p95_ms"] >= report["speed"]["decode_request_p50_ms"] > 0
    # Nothing that was served tells where anything lies on this machine.
    assert str(photographs) not in json.dumps([report, found])
    assert (job["done"], job["total"], job["phase"]) == (6, 6, "reconstruct")
    page = server.get(f"{address}/report")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert str(photographs) not in page.text
    scores = server.get(f"{address}/report", params={"format": "csv"}).text
    assert len(scores.splitlines()) == 7
    tail = server.get(f"{address}/log", headers={"range": "bytes=-5"})
    assert (tail.status_code, tail.content) == (206, log.encode()[-5:])
    assert server.client.delete(address).json() == {
        **{"id": job["id"], "object": "evaluation.deleted"},
        "deleted": True,
    }
    assert server.get(address).status_code == 404


@pytest.mark.slow
def test_a_generator_is_measured_through_the_server(server: Server, models: dict[str, Path]) -> None:
    asked = {"job": "generate", "data": "photos", "num_images": 4, "num_steps": 2, "guidance": 2.0, "seed": 3}
    started = server.post("/v1/evaluations", json=asked)
    address, job = started.headers["location"], wait(server, started.json()["id"])
    assert job["status"] == "completed", server.get(f"{address}/log").text
    assert job["total"] == 4 + 48  # samples, and every photograph that they are compared with
    report = server.get(f"{address}/report", params={"format": "json"}).json()
    assert report["generator"]["source"] == f"{server.url}#shapes"
    assert report["generator"]["seed"] == 3
    samples = np.load(io.BytesIO(server.get(f"{address}/report", params={"format": "npz"}).content))
    local = Pipeline.load(models["shapes"], tokenizer=str(models["tiny"])).generate(
        [0, 1, 2, 0], 3, 2, 2.0, output="pixels"
    )
    expected = ((local + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(samples["arr_0"].astype(float) - expected).max() <= 1  # other batches round differently
    assert samples["arr_1"].tolist() == [0, 1, 2, 0]
    grid = server.get(f"{address}/report", params={"format": "png"})
    assert grid.headers["content-type"] == "image/png"
    assert as_pixels(grid.content).ndim == 3
