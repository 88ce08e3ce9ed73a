"""The servers that are compared: ours, and the peers that are installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from eval.serving.load import Asked
from eval.serving.processes import Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eval.serving.settings import Peer
    from eval.serving.work import WorkConfig

OURS = "Tessera"
# Of a peer: its title, its module in eval.serving.peers, what must be installed, and where it answers.
PEERS: dict[Peer, tuple[str, str, str, str]] = {
    "plain": ("FastAPI with a lock", "plain", "fastapi", "/"),
    "litserve": ("LitServe", "lightning", "litserve", "/predict"),
    "ray": ("Ray Serve @serve.batch", "ray_serve", "ray", "/"),
}
# Query of our routes by operation; ``{model}`` and ``{output}`` are filled in.
TARGETS = {
    "encode": "/v1/encode?model={model}",
    "decode": "/v1/decode?model={model}&output={output}",
    "reconstruct": "/v1/reconstruct?model={model}&output={output}",
    "generate": "/v1/generate",
}


def ours(models: Mapping[str, Path], settings: Mapping[str, object]) -> Server:
    """``python -m service`` over these folders; ``settings`` as in service/README.md, without their prefix."""
    served = ",".join(f"{name}={path}" for name, path in models.items())
    given = {"models": served, "port": "{port}", "log_level": "warning", **settings}
    environment = {f"TESSERA_{name.upper()}": str(value) for name, value in given.items()}
    first = Asked("/health/ready", None, {}, "GET")
    return Server(OURS, ("-m", "service"), environment, "", first)


def missing(peer: Peer) -> str | None:
    """The package that a peer needs and that is not installed."""
    name = PEERS[peer][2]
    return None if find_spec(name) is not None else name


def peer(name: Peer, work: WorkConfig, first: Asked, folder: Path) -> Server:
    """Another server over one operation.

    Args:
        name: which.
        work: the operation and its model.
        first: a request to it, whose target is filled in.
        folder: for its plan.
    """
    title, module, _, target = PEERS[name]
    plan = folder / f"{name}-{work.operation}.json"
    plan.write_text(work.model_dump_json())
    ready = Asked(target, first.body, first.headers, first.method)
    return Server(title, ("-m", f"eval.serving.peers.{module}", "{port}", str(plan)), {}, target, ready)


def aimed(requests: list[Asked], target: str) -> list[Asked]:
    """The requests, sent to ``target``."""
    return [Asked(target, asked.body, asked.headers, asked.method) for asked in requests]


def target_of(work: WorkConfig, model: str) -> str:
    """Where our server takes the requests of an operation."""
    return TARGETS[work.operation].format(model=model, output=work.output)
