"""Sums, means and rows over two processes, and the identity alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch import distributed as dist

from tokenizer.core import distributed

ROOT = Path(__file__).parents[3]
ROWS = torch.arange(10.0).view(5, 2)
WANTED = torch.tensor([4, 0, 2, 2, 3])


def share(process: int) -> Tensor:
    """Three rows here, two there."""
    return ROWS[:3] if process == 0 else ROWS[3:]


def work(process: int, folder: str) -> None:
    """What each of two processes does; this file is its program."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=process, world_size=2)
    x = share(process)
    weight = torch.tensor(2.0, requires_grad=True)
    mean = distributed.mean(weight * x.sum())
    mean.backward()
    found = {
        "total": distributed.total(x.sum(dim=0)),
        "mean": mean.detach(),
        "gradient": weight.grad,
        "stack": distributed.stack(x[:1]),
        "rows": distributed.take_rows(x, WANTED),
        "empty": distributed.take_rows(ROWS if process == 1 else ROWS[:0], WANTED),
        "num_rows": torch.tensor(distributed.num_rows(x)),
        "index": torch.tensor(distributed.process_index()),
    }
    torch.save(found, f"{folder}/{process}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_on_the_whole(tmp_path: Path) -> None:
    command = [sys.executable, __file__]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    both = [torch.load(tmp_path / f"{process}.pt", weights_only=True) for process in range(2)]
    for process, found in enumerate(both):
        assert torch.equal(found["total"], ROWS.sum(dim=0))
        assert found["mean"].item() == ROWS.sum().item()  # 2 x, over 2
        assert found["gradient"].item() == share(process).sum().item()
        assert torch.equal(found["stack"], ROWS[[0, 3]].unsqueeze(1))
        assert torch.equal(found["rows"], ROWS[WANTED])
        assert torch.equal(found["empty"], ROWS[WANTED])
        assert found["num_rows"].item() == 5
        assert found["index"].item() == process


def test_alone_everything_is_the_identity() -> None:
    x = ROWS.clone().requires_grad_()
    assert distributed.num_processes() == 1
    assert distributed.process_index() == 0
    assert distributed.num_rows(x) == 5
    assert distributed.mean(x) is x
    for found, wanted in (
        (distributed.total(x), ROWS),
        (distributed.stack(x), ROWS[None]),
        (distributed.take_rows(x, WANTED), ROWS[WANTED]),
    ):
        assert torch.equal(found, wanted)
        assert not found.requires_grad


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
