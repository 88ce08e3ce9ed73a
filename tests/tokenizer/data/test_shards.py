"""Pictures in shards are what they are in a folder; labels fit together or are refused."""

import logging
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tokenizer.core.checkpoint import load_tensors
from tokenizer.data import shards as shards_module
from tokenizer.data.images import Images, Positions, TrainingOrder, loader
from tokenizer.data.pack import PackConfig, pack
from tokenizer.data.shards import Shards
from tokenizer.train import train
from tokenizer.training import TrainConfig

Make = Callable[..., Path]
Draw = Callable[[int], bytes]


@pytest.fixture
def packed(photographs: Path, tmp_path: Path) -> Path:
    """The photographs as shards of 10."""
    pack(PackConfig(path=photographs, out=tmp_path / "packed", shard_images=10))
    return tmp_path / "packed"


def seen(
    path: Path, start: int, stop: int, processes: int = 1, workers: int = 0
) -> dict[int, tuple[int, int, bytes]]:
    """What training sees at positions start to stop: (index, label, pixels) by key."""
    order = TrainingOrder(Images(path, 16), seed=5)
    found: dict[int, tuple[int, int, bytes]] = {}
    for process in range(processes):
        positions = Positions(start, stop, 6, process=process, num_processes=processes)
        for batch in loader(order, positions, workers):
            for row in range(len(batch["key"])):
                key = int(batch["key"][row])
                assert key not in found  # no two positions are the same sample of the same epoch
                found[key] = (
                    int(batch["index"][row]),
                    int(batch["label"][row]),
                    batch["data"][row].numpy().tobytes(),
                )
    return found


def test_training_sees_the_same_from_a_folder_and_from_its_shards(photographs: Path, packed: Path) -> None:
    folder = TrainingOrder(Images(photographs, 16), seed=1)
    shards = TrainingOrder(Images(packed, 16), seed=1)
    assert len(shards) == len(folder) == 48
    for position in (0, 7, 47, 48, 100):
        for name, value in folder[position].items():
            assert torch.equal(value, shards[position][name]), name  # type: ignore[call-overload]
    assert shards.images.source.class_names == folder.images.source.class_names


def test_a_run_ends_at_the_same_weights_and_may_move_to_shards_half_way(
    photographs: Path, packed: Path, tiny_run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def weights(out: str, path: Path, images: int = 24) -> dict[str, torch.Tensor]:
        phase = {"resolution": 16, "images": images, "batch": 4, "losses": [{"kind": "l1"}]}
        data = {"path": str(path), "num_workers": 0}
        settings = tiny_run(out=str(tmp_path / out), data=data, phases=[phase], save_every=12, keep=9)
        last = train(TrainConfig.parse(settings))
        return load_tensors(last / "model.safetensors")

    whole = weights("folder", photographs)
    shutil.copytree(tmp_path / "folder", tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved/checkpoints/000000000024")
    (tmp_path / "moved/LATEST").write_text("000000000012")
    for again in (weights("shards", packed), weights("moved", packed)):
        assert whole.keys() == again.keys()
        assert all(torch.equal(value, again[name]) for name, value in whole.items())


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (2, 0), (3, 0), (2, 2)])
def test_any_number_of_processes_sees_every_picture_once_an_epoch(
    packed: Path, processes: int, workers: int
) -> None:
    alone = seen(packed, 0, 48)
    assert sorted(index for index, _, _ in alone.values()) == list(range(48))
    assert seen(packed, 0, 48, processes, workers) == alone


def test_a_run_goes_on_from_any_position(packed: Path) -> None:
    whole = seen(packed, 0, 96)
    for cut in (6, 30, 48, 90):
        assert seen(packed, 0, cut) | seen(packed, cut, 96, processes=2) == whole


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_corrupt_picture_is_replaced_alike_and_named(
    packed: Path, processes: int, caplog: pytest.LogCaptureFixture
) -> None:
    member = Shards(sorted(packed.glob("*.tar")))[13]
    data = bytearray(member.shard.path.read_bytes())
    data[member.offset : member.offset + member.num_bytes] = bytes(member.num_bytes)
    member.shard.path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        found = seen(packed, 0, 48, processes)
    assert f"shard-000001.tar: {member.member} cannot be read" in caplog.text
    assert member.member == "rings/13.png"
    indices = sorted(index for index, _, _ in found.values())
    assert indices == sorted([*range(13), 14, *range(14, 48)])  # 14 stands for 13
    assert found == seen(packed, 0, 48)


def test_reading_is_safe_in_threads_and_across_pickling(packed: Path) -> None:
    shards = Shards(sorted(packed.glob("*.tar")))
    expected = [shards[index].read() for index in range(48)]
    shards_module._open.cache_clear()
    again = pickle.loads(pickle.dumps(shards))  # as a loader's worker gets it where processes are spawned
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):  # every round begins with several threads that open the same shards at once
            shards_module._open.cache_clear()
            assert list(pool.map(lambda index: again[index % 48].read(), range(96))) == expected * 2
    with pytest.raises(IndexError, match="number 48 of 48 pictures"):
        shards[48]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_few_shards_are_open_at_once(make_tar: Make, picture: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        make_tar(f"{number:03d}.tar", {"a.png": picture(0)})
        for number in range(shards_module.OPEN_SHARDS + 40)
    ]
    shards = Shards(files)
    before = len(os.listdir("/proc/self/fd"))
    assert {shards[index].read() for index in range(len(shards))} == {picture(0)}
    assert len(os.listdir("/proc/self/fd")) - before <= shards_module.OPEN_SHARDS
    shards_module._open.cache_clear()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_shard_that_changes_under_a_reader_stops_it(make_tar: Make, picture: Draw) -> None:
    shards = Shards([make_tar("s.tar", {"a.png": picture(0)})])
    make_tar("s.tar", {"a.png": picture(1), "b.png": picture(2)})
    with pytest.raises(RuntimeError, match=r"s\.tar was changed since it was indexed: start again"):
        shards[0].read()
    shutil.move(shards.shards[0].path, shards.shards[0].path.with_name("moved"))
    with pytest.raises(RuntimeError, match="cannot be opened any more"):
        shards[0].read()


def test_names_tell_shards_apart(make_tar: Make, picture: Draw) -> None:
    files = [make_tar(f"{part}/s.tar", {"0.png": picture(0)}) for part in ("x", "y")]
    shards = Shards(files)
    assert [shards[index].name for index in range(2)] == ["x/s.tar/0.png", "y/s.tar/0.png"]
    assert str(shards[1]) == f"{files[1]}: 0.png"
    assert shards[1].num_bytes == len(picture(0))


def test_labels_by_number_by_name_and_none(make_tar: Make, picture: Draw) -> None:
    numbers = make_tar("n/s.tar", {"a.png": picture(0), "a.cls": b"2", "b.png": picture(1), "b.cls": b"0"})
    assert Shards([numbers]).class_names == ["0", "1", "2"]
    assert [Shards([numbers]).label(index) for index in range(2)] == [2, 0]
    (numbers.parent / "classes.json").write_text('["cat", "dog", "fox"]')
    assert Shards([numbers]).class_names == ["cat", "dog", "fox"]
    words = {
        "a.png": picture(0),
        "a.json": b'{"label": "dog"}',
        "b.png": picture(1),
        "b.json": b'{"label": "ant"}',
    }
    named = Shards([make_tar("w/s.tar", words)])
    assert (named.class_names, [named.label(index) for index in range(2)]) == (["ant", "dog"], [1, 0])
    plain = Shards([make_tar("p/s.tar", {"a.png": picture(0)})])
    assert (plain.class_names, plain.label(0)) == ([""], 0)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ('["cat"]', "is of class 1, but .* names 1 classes"),
        ("[", "is not JSON"),
        ('{"0": "cat"}', "must be a list of class names"),
    ],
)
def test_class_files_that_do_not_fit_are_refused(
    make_tar: Make, picture: Draw, classes: str, message: str
) -> None:
    shard = make_tar("s.tar", {"a.png": picture(0), "a.cls": b"1"})
    (shard.parent / "classes.json").write_text(classes)
    with pytest.raises(ValueError, match=message):
        Shards([shard])


def test_labels_of_two_kinds_are_refused_naming_both(make_tar: Make, picture: Draw) -> None:
    one = make_tar("a.tar", {"x.png": picture(0), "x.cls": b"1"})
    for name, more in (("b.tar", {}), ("c.tar", {"y.json": b'{"label": "cat"}'})):
        two = make_tar(name, {"y.png": picture(1)} | more)
        told = "no label" if not more else "the label 'cat'"
        with pytest.raises(
            ValueError, match=rf"a\.tar: x\.png has the label 1 and .*{name}: y\.png has {told}"
        ):
            Shards([one, two])


def test_a_member_is_a_file_of_its_own(make_tar: Make, picture: Draw) -> None:
    shards = Shards([make_tar("s.tar", {"a.png": picture(0), "b.png": picture(1)})])
    with shards[0].open() as first, shards[1].open() as second:
        assert second.read(8) == picture(1)[:8]
        assert first.read() == picture(0)
        assert second.seek(-4, 2) == len(picture(1)) - 4
        assert second.read() == picture(1)[-4:]
        assert second.read() == b""
        assert second.seek(2) == second.tell() == 2
        assert second.read(3) == picture(1)[2:5]
    assert shards[0].mtime_ns == shards.shards[0].mtime_ns
