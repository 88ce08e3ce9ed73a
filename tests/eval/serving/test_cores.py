"""How cores are split, and that processes keep to theirs."""

import os
import subprocess
import sys

import pytest

from eval.serving.cores import available, pinned, split


def test_few_cores_are_shared_and_it_is_said() -> None:
    cores = split((0, 1))
    assert (cores.server, cores.client, cores.threads) == (None, None, 1)
    assert "share all cores" in cores.sentence()
    assert split((3,)).threads == 1
    assert split((0, 1), threads=2).threads == 2


@pytest.mark.parametrize(("count", "client"), [(4, 1), (8, 2), (16, 4), (64, 4)])
def test_many_cores_are_split_without_overlap(count: int, client: int) -> None:
    cores = split(tuple(range(10, 10 + count)))
    assert cores.server is not None
    assert cores.client is not None
    assert len(cores.client) == client
    assert sorted((*cores.server, *cores.client)) == list(range(10, 10 + count))
    assert cores.threads == len(cores.server)
    assert "pinned to cores 10" in cores.sentence()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
def test_a_process_started_inside_keeps_to_its_cores() -> None:
    mine = available()
    with pinned(mine[:1]):
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert child.stdout.strip() == str(list(mine[:1]))
    assert available() == mine
    with pinned(None):
        assert available() == mine
