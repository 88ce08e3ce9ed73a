"""The servers that are compared: how they are started, and where requests go."""

import json
from pathlib import Path

import pytest

from eval.serving import servers
from eval.serving.load import Asked
from eval.serving.session import Session
from eval.serving.settings import Peer
from eval.serving.work import WorkConfig


def test_ours_is_the_service_with_its_settings() -> None:
    server = servers.ours({"a": Path("/x"), "b": Path("/y")}, {"max_batch": 4})
    assert server.command == ("-m", "service")
    assert server.environment["TESSERA_MODELS"] == "a=/x,b=/y"
    assert server.environment["TESSERA_MAX_BATCH"] == "4"
    assert server.environment["TESSERA_PORT"] == "{port}"
    assert (server.first.method, server.first.target) == ("GET", "/health/ready")


@pytest.mark.parametrize("name", list(servers.PEERS))
def test_peers_get_the_same_work_in_a_file(name: Peer, session: Session, tmp_path: Path) -> None:
    work = session.work("decode")
    server = servers.peer(name, work, Asked("", "body", {"a": "b"}), tmp_path)
    assert server.command[1].startswith("eval.serving.peers.")
    assert server.first == Asked(server.target, "body", {"a": "b"})
    assert WorkConfig.parse(json.loads(Path(server.command[-1]).read_text())) == work


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    assert servers.missing("ray") == "ray"
    monkeypatch.setattr(servers, "find_spec", lambda name: name)
    assert servers.missing("ray") is None


def test_targets(session: Session) -> None:
    work = session.work("decode", output="npy")
    target = servers.target_of(work, "m")
    assert target == "/v1/decode?model=m&output=npy"
    assert servers.aimed([Asked("", "a"), Asked("", "b")], target) == [Asked(target, "a"), Asked(target, "b")]
