"""What the parts share: models found or made, requests, plans."""

from dataclasses import replace
from pathlib import Path

import pytest

import tokenizer
from eval.errors import EvaluationError
from eval.serving.session import MEASURED, Session, spec_id_of
from eval.serving.settings import ServingConfig


def opened(folder: Path, **changes: object) -> Session:
    values = {"generator": None, "operations": ["encode"], "device": "cpu", "out": folder, "threads": 1}
    return Session.open(ServingConfig.parse(values | changes))


def test_sources(tmp_path: Path, tokenizer_folder: Path) -> None:
    assert opened(tmp_path, tokenizer="free").tokenizer == tmp_path / "work" / "free"
    assert opened(tmp_path, tokenizer=str(tokenizer_folder)).tokenizer == tokenizer_folder
    made = opened(tmp_path, tokenizer="random:tiny").tokenizer
    assert spec_id_of(made) == tokenizer.load(made).spec_id
    with pytest.raises(EvaluationError, match="no tokenizer 'nothing'"):
        opened(tmp_path, tokenizer="nothing")


def test_a_generator_of_another_tokenizer_is_refused(
    tmp_path: Path, tokenizer_folder: Path, generator_folder: Path
) -> None:
    fits = opened(tmp_path, tokenizer=str(tokenizer_folder), generator=str(generator_folder))
    assert fits.work("generate").generator == generator_folder
    with pytest.raises(EvaluationError, match="belongs to spec"):
        opened(tmp_path, tokenizer="free", generator=str(generator_folder))


def test_ours_serves_all_models_and_requests_name_theirs(session: Session, tokenizer_folder: Path) -> None:
    free_only = session.ours().server.environment["TESSERA_MODELS"]
    assert free_only == f"{MEASURED}={session.free}"
    both = replace(session, tokenizer=tokenizer_folder)
    models = both.ours(queue_requests=3).server.environment
    assert models["TESSERA_MODELS"] == f"{MEASURED}={tokenizer_folder},free={session.free}"
    assert models["TESSERA_QUEUE_REQUESTS"] == "3"
    for free in (False, True):
        work = both.work("decode", free=free)
        aimed = both.for_ours(work, both.requests(work, side=64))
        assert f"model={'free' if free else MEASURED}" in aimed[0].target


def test_plans(session: Session) -> None:
    requests = session.requests(session.work("encode"), side=64)
    closed = session.closed(requests, 4)
    assert (closed.mode, closed.connections, closed.seconds) == ("closed", 4, pytest.approx(0.3))
    steady = session.open_loop(requests, 5.0)
    assert (steady.mode, steady.rate) == ("open", 5.0)
    assert session.probe(1.0).requests[0].target == "/health/live"
    plan = session.bare_plan(session.work("encode"), requests)
    assert plan.batch_sizes == (1, 2)
    assert session.bare_plan(session.work("encode"), requests, calls=3, batches=False).batch_sizes == ()
