"""Losses of a batch's distribution (entropies, free bits) on two processes: those of one on the joint batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributed as dist

from tokenizer.bottlenecks.bsq import BSQConfig
from tokenizer.bottlenecks.kl import KLConfig
from tokenizer.bottlenecks.lfq import LFQConfig

ROOT = Path(__file__).parents[3]
H = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.5


def modules() -> dict[str, Any]:  # a Bottleneck and an nn.Module
    """One of each kind that looks at the batch as a whole, for four channels of h."""
    return {
        "lfq": LFQConfig(temperature=1.0, diversity=2.0).build(4),
        "bsq": BSQConfig(group_bits=2, diversity=2.0).build(4),
        "kl": KLConfig(free_nats=0.4).build(2),
        "kl position": KLConfig(free_nats=0.4, free_groups="position").build(2),
    }


def gradients(h: Tensor) -> dict[str, Tensor]:
    """Of a parameter that all of h depends on, as a network's would."""
    found = {}
    for name, module in modules().items():
        weight = torch.ones(4, 1, 1, requires_grad=True)
        module.train()(weight * h).loss.backward()
        assert weight.grad is not None
        found[name] = weight.grad
    return found


def work(process: int, folder: str) -> None:
    """What each of two processes does; this file is its program."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=process, world_size=2)
    found = gradients(H[:3] if process == 0 else H[3:])
    for gradient in found.values():  # as processes average theirs
        dist.all_reduce(gradient)
    torch.save({name: gradient / 2 for name, gradient in found.items()}, f"{folder}/{process}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_gradients_on_two_processes_are_those_of_the_joint_batch(tmp_path: Path) -> None:
    command = [sys.executable, __file__]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    joint, half = gradients(H), gradients(H[:3])
    for process in range(2):
        found = torch.load(tmp_path / f"{process}.pt", weights_only=True)
        for name, gradient in joint.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
            assert not torch.allclose(found[name], half[name], rtol=1e-2)


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
