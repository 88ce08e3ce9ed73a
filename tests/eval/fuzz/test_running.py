"""The run: two thousand inputs without a fault, and every fault of a reader is seen with its input."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from eval.fuzz.corpus import KINDS
from eval.fuzz.running import Plan, Report, run, save
from eval.fuzz.samples import sample

# A module of readers: the child imports what it is told to call by name, and has no tests.
READERS = """
import ctypes, time

HOARD = []

def raises(kind, body):
    if kind == "webp":
        raise RuntimeError("the parser broke")
    return "ok"

def crashes(kind, body):
    if kind == "webp":
        ctypes.string_at(0)  # a null pointer, as a decoder in C might follow
    return "ok"

def hangs(kind, body):
    if kind == "webp":
        time.sleep(600)
    return "ok"

def grows(kind, body):
    HOARD.append(b"x" * 2**20)
    return "ok"

def swells(kind, body):
    return str(len(b"x" * (96 * 2**20)) if kind == "webp" else "ok")
"""


@pytest.fixture
def readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "fuzz_readers.py").write_text(READERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fuzz_readers", raising=False)
    return importlib.import_module("fuzz_readers")


def quiet(_: str) -> None:
    pass


@pytest.mark.timeout(600)
def test_two_thousand_inputs_are_read_or_refused() -> None:
    plan = Plan(seed=20261121, first=0, count=2000)
    report = run(plan, quiet)
    assert report.problems(plan) == [], report.found and report.found.trace
    assert sum(report.outcomes.values()) == 2000
    assert {kind for kind, _ in report.outcomes} == set(KINDS)
    for kind in KINDS:  # some of each are still good, most are refused
        assert report.outcomes[kind, "ok"] > 5
    assert sum(number for (_, what), number in report.outcomes.items() if what != "ok") > 1000


@pytest.mark.parametrize(
    ("reader", "what"),
    [
        ("raises", "RuntimeError: the parser broke"),
        ("crashes", "exit code -11"),
        ("hangs", "still being read"),
    ],
)
def test_a_fault_stops_the_run_and_names_the_input(readers: ModuleType, reader: str, what: str) -> None:
    plan = Plan(seed=1, first=len(KINDS), count=100, hang_s=1.0)
    report = run(plan, quiet, getattr(readers, reader))
    assert report.found is not None
    assert report.found.index == len(KINDS) + KINDS.index("webp")
    assert what in report.found.what
    (problem,) = report.problems(plan)
    assert problem.startswith(f"input {report.found.index} of seed 1: ")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(("reader", "what"), [("grows", "memory grew by"), ("swells", "above the start")])
def test_memory_that_grows_or_swells_is_told(readers: ModuleType, reader: str, what: str) -> None:
    plan = Plan(seed=1, first=0, count=80, growth_mib=16.0, peak_mib=64.0)
    report = run(plan, quiet, getattr(readers, reader))
    assert report.found is None
    assert any(what in problem for problem in report.problems(plan))


def test_growth_is_counted_after_warm_up() -> None:
    warm = [float(100 + min(index, 10)) for index in range(40)]
    assert Report(memory_mib=warm).growth_mib == 0.0
    leak = [100.0 + index for index in range(40)]
    assert Report(memory_mib=leak).growth_mib == 20.0
    assert Report(memory_mib=[1.0, 99.0]).growth_mib == 0.0  # too few to tell


def test_an_offending_input_is_kept_with_all_that_it_needs(tmp_path: Path) -> None:
    given = sample(3, 8)
    path = save(given, tmp_path / "kept", 3, "it broke")
    assert path.read_bytes() == given.body.data
    facts = json.loads(Path(f"{path}.json").read_text())
    assert (facts["seed"], facts["index"], facts["what"]) == (3, 8, "it broke")
    assert sample(facts["seed"], facts["index"]) == given
    assert facts["headers"] == given.body.headers
