"""A running server reads or refuses what the fuzzer sends (eval/fuzz): no answer of 500 and above, none torn off."""

from eval.fuzz.corpus import KINDS
from eval.fuzz.server import attack
from tests.service.conftest import Server


def test_a_running_server_reads_or_refuses(server: Server) -> None:
    told = attack(server.url, seed=20261121, count=120)
    assert told.found is None
    assert sum(told.answers.values()) == 120
    assert {kind for kind, _ in told.answers} == set(KINDS)
    statuses = {status for _, status in told.answers}
    assert 200 in statuses
    assert max(statuses) < 500
    assert server.get("/health/ready").status_code == 200
