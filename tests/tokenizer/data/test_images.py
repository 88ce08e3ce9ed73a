"""The order of training is a function of the position alone, and bad files are survived and named."""

import logging
import shutil
from pathlib import Path

import pytest
import torch

from tokenizer.data.images import Images, Positions, TrainingOrder, loader


def test_labels_are_folders(photographs: Path) -> None:
    folder = Images(photographs, 32)
    assert folder.source.class_names == ["rings", "waves"]
    assert len(folder) == 48
    sample = folder[47]
    assert tuple(sample["data"].shape) == (32, 32, 3)
    assert int(sample["label"]) == 1


def test_an_epoch_sees_each_picture_once(photographs: Path) -> None:
    order = TrainingOrder(Images(photographs, 16), seed=3)
    first = [int(order[position]["index"]) for position in range(48)]
    second = [int(order[position]["index"]) for position in range(48, 96)]
    assert sorted(first) == sorted(second) == list(range(48))
    assert first != second


def test_a_position_is_a_picture(photographs: Path) -> None:
    """The same position gives the same bytes, from any object, in any order; another epoch another crop."""
    one = TrainingOrder(Images(photographs, 16), seed=3)
    other = TrainingOrder(Images(photographs, 16), seed=3)
    other[100]
    assert torch.equal(one[5]["data"], other[5]["data"])
    assert int(one[5]["key"]) == int(other[5]["key"])
    assert not torch.equal(TrainingOrder(Images(photographs, 16), seed=4)[5]["data"], one[5]["data"])


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_processes_together_see_what_one_sees(processes: int, accumulate: int) -> None:
    alone = [set(batch) for batch in Positions(8, 40, 8)]
    parts = [
        list(Positions(8, 40, 8, accumulate=accumulate, process=rank, num_processes=processes))
        for rank in range(processes)
    ]
    assert all(len(part) == len(Positions(8, 40, 8, accumulate=accumulate)) for part in parts)
    for step, want in enumerate(alone):
        turns = [batch for part in parts for batch in part[step * accumulate : (step + 1) * accumulate]]
        assert sorted(position for batch in turns for position in batch) == sorted(want)


def test_uneven_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        Positions(0, 10, 6, accumulate=2, num_processes=2)


def test_workers_change_nothing(photographs: Path) -> None:
    order = TrainingOrder(Images(photographs, 16), seed=0)
    results = [
        torch.cat([batch["data"] for batch in loader(order, Positions(0, 24, 8), workers)])
        for workers in (0, 2)
    ]
    assert torch.equal(*results)


def test_a_corrupt_picture_is_named_and_replaced_the_same_way(
    photographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(photographs, tmp_path / "copy")
    bad = tmp_path / "copy/rings/03.png"
    bad.write_bytes(bad.read_bytes()[:100])
    order = TrainingOrder(Images(tmp_path / "copy", 16), seed=0)
    position = order.permutation(0).tolist().index(3)
    with caplog.at_level(logging.WARNING):
        first, second = order[position], order[position]
    assert "03.png" in caplog.text
    assert int(first["index"]) == 4
    assert torch.equal(first["data"], second["data"])
    with pytest.raises(ValueError, match=r"03\.png cannot be read"):
        Images(tmp_path / "copy", 16)[3]
