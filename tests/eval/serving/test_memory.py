"""Memory of a process and those below it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.serving.memory import growth_per_minute, resident_bytes, tree

MIB = 2**20
linux = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="this system has no smaps_rollup"
)
HOLDER = "x = bytearray(b'1') * (64 << 20); print(1, flush=True); input()"
PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE); "
    "input(); child.communicate()"
)


@linux
def test_a_tree_counts_what_its_children_hold() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert len(tree(process.pid)) == 2
    size = resident_bytes(process.pid)
    process.communicate("\n")
    assert size is not None
    assert 64 * MIB < size < 128 * MIB


@linux
def test_this_process() -> None:
    assert os.getpid() in tree(os.getpid())
    assert (resident_bytes(os.getpid()) or 0) > MIB


def test_a_process_that_has_ended() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert resident_bytes(done.pid) is None


def test_growth_is_the_slope_of_a_line() -> None:
    assert growth_per_minute([(0.0, 100), (30.0, 150), (60.0, 200)]) == pytest.approx(100)
    assert growth_per_minute([(0.0, 100), (60.0, 100)]) == 0
    assert growth_per_minute([(1.0, 100)]) is None
    assert growth_per_minute([]) is None
