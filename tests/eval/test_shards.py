"""Shards: kept, counted exactly, in one order, and never mixed with those of other work."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eval import processes
from eval.errors import EvaluationError
from eval.progress import FILE
from eval.shards import LOCK, Shard, Shards, only_run
from tokenizer.core import locks

DEPENDS = {"spec_id": "ab", "batch_size": 2}


def shards(out: Path, **depends: object) -> Shards:
    return Shards(out, "work", DEPENDS | depends, total=7, size=3)


def made(numbers: range) -> Shard:
    keys = list(numbers)
    return Shard(keys, {"squares": torch.tensor(keys).square()}, notes={"first": keys[0]})


def test_every_number_once_and_in_order(tmp_path: Path) -> None:
    work = shards(tmp_path)
    assert [list(span) for span in work.spans] == [[0, 1, 2], [3, 4, 5], [6]]
    todo = work.begin()
    assert todo == [0, 1, 2]
    with work.progress() as bar:
        for index in reversed(todo):
            work.save(index, made(work.spans[index]))
            bar.update(len(work.spans[index]))
        work.finish(bar)
    found = list(shards(tmp_path))
    assert [key for shard in found for key in shard.keys] == list(range(7))
    assert torch.cat([shard.tensors["squares"] for shard in found]).tolist() == [n * n for n in range(7)]
    assert [shard.notes["first"] for shard in found] == [0, 3, 6]
    work.remove()
    assert not (tmp_path / "parts").exists()


def test_what_is_there_is_not_made_again_by_however_many_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shards(tmp_path)
    first.begin()
    first.save(1, made(first.spans[1]))
    again = shards(tmp_path)
    assert again.begin() == [0, 2]
    with again.progress():
        pass
    line = json.loads((tmp_path / FILE).read_text().splitlines()[0])
    assert (line["done"], line["total"], line["images_per_s"]) == (3, 7, None)
    monkeypatch.setattr(processes, "share", lambda items: items[1::2])
    assert shards(tmp_path).begin() == [2]
    again.save(0, made(again.spans[0]))
    damaged = again.folder / "shard-00001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert shards(tmp_path).begin() == [2]  # every other one of 1, which is damaged, and 2
    with pytest.raises(EvaluationError, match="gone or damaged: run the command again"):
        list(again)


@pytest.mark.parametrize(
    "shard",
    [
        Shard([0, 1], {}),
        Shard([0, 1, 1], {}),
        Shard([0, 1, 3], {}),
        Shard([0, 1, 2], {}, skipped=["c.png"]),
        Shard([0, 1, 2, 2], {}),
    ],
)
def test_a_number_that_is_missing_or_there_twice_is_a_fault(tmp_path: Path, shard: Shard) -> None:
    work = shards(tmp_path)
    work.begin()
    with pytest.raises(RuntimeError, match="a fault of the evaluation"):
        work.save(0, shard)
    work.save(0, Shard([0, 2], {}, skipped=["b.png is cut"]))
    assert work.load(0).skipped == ["b.png is cut"]


def test_other_settings_are_other_work_and_a_warning_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = shards(tmp_path)
    work.begin()
    work.save(0, made(work.spans[0]))
    with caplog.at_level(logging.WARNING):
        assert shards(tmp_path).begin() == [1, 2]
        assert not caplog.text
        other = shards(tmp_path, batch_size=4)
        assert other.begin() == [0, 1, 2]
    assert "is unfinished under another ['batch_size']" in caplog.text
    other.remove()
    assert work.load(0).keys == [0, 1, 2]


def test_closed_work_is_not_begun_again(tmp_path: Path) -> None:
    work = shards(tmp_path)
    work.begin()
    for index, span in enumerate(work.spans):
        work.save(index, made(span))
    assert not work.is_closed
    work.close()
    assert not list(work.folder.glob("*.safetensors"))
    assert shards(tmp_path).is_closed
    assert shards(tmp_path).begin() == []


def test_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with only_run(out), pytest.raises(EvaluationError, match="another run works in it"), only_run(out):
        pytest.fail("two runs in one folder")
    with only_run(out):
        assert locks.is_held(out / LOCK)
    assert not locks.is_held(out / LOCK)


def test_the_lock_ends_with_a_run_that_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), only_run(tmp_path):
        raise KeyError
    with only_run(tmp_path):
        pass


def test_progress_counts_what_other_processes_have_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take: Callable[[list[int]], list[int]] = lambda items: items[::2]  # noqa: E731  # the first of two
    monkeypatch.setattr(processes, "share", take)
    work = shards(tmp_path)
    assert work.begin() == [0, 2]
    with work.progress():
        work.save(1, made(work.spans[1]))  # by the other one
    last = json.loads((tmp_path / FILE).read_text().splitlines()[-1])
    assert (last["done"], last["total"]) == (3, 7)
