"""Whether the server is up."""

from tests.service.conftest import Server


def test_health(server: Server) -> None:
    assert server.get("/health/live").json() == {"status": "alive"}
    assert server.get("/health/ready").json() == {"status": "ready"}
