"""Processes of a launcher, as one of them sees it; one, two and three of them are started for real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from eval import machine, processes, reconstruct

ROOT = Path(__file__).parents[2]


def test_alone_nothing_is_joined_and_everything_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes.joined():
        assert not torch.distributed.is_initialized()
        assert processes.is_first()
        assert processes.share([3, 1, 2]) == [3, 1, 2]
        assert processes.agreed([True, False]) == [True, False]
        processes.wait(lambda: pytest.fail("there is nobody to wait for"))


def test_every_item_belongs_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    items = list(range(7))
    for count in (1, 2, 3, 9):
        monkeypatch.setattr(processes, "num_processes", lambda count=count: count)
        shares = []
        for place in range(count):
            monkeypatch.setattr(processes, "process_index", lambda place=place: place)
            shares.append(processes.share(items))
        assert sorted(item for share in shares for item in share) == items
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_process_of_a_machine_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.own_device("cpu").type == "cpu"
    monkeypatch.setattr(processes, "pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert processes.own_device("auto") == torch.device("cuda")
    for place, index in (("0", 0), ("1", 1), ("2", 0)):
        monkeypatch.setenv("LOCAL_RANK", place)
        assert processes.own_device("auto") == torch.device("cuda", index)
        assert processes.own_device("cuda:1") == torch.device("cuda")  # as it is asked for
    monkeypatch.undo()
    assert processes.own_device("auto").type == machine.pick_device("auto").type


def launch(count: int, options: list[str]) -> None:
    """What ``python -m torch.distributed.run --standalone --nproc-per-node COUNT -m eval.reconstruct`` does.

    Processes are forked from this one, which has imported everything and computed nothing.
    """
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=str(count),
        max_restarts=0,
        start_method="fork",
        monitor_interval=0.05,
    )
    elastic_launch(settings, reconstruct.main)(options)


@pytest.mark.slow
def test_every_picture_once_in_one_two_and_three_processes_of_a_launcher(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    options = [
        f"tokenizer={tokenizer_folder}",
        f"data.path={pictures_folder}",
        "data.resolution=32",
        "metrics=[psnr]",
        "batch_size=2",
        "shard_images=2",
        "device=cpu",
    ]
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report.html") == 3  # one of them speaks
    tables, numbers = set(), set()
    for count in (1, 2, 3):
        report = json.loads((tmp_path / str(count) / "report.json").read_text())
        assert (report["num_images"], report["speed"]["processes"]) == (8, count)
        table = (tmp_path / str(count) / "per_image.csv").read_text()
        names = [line.split(",")[0] for line in table.splitlines()[1:]]
        assert names == sorted(f"{kind}/{index}.png" for kind in ("cat", "dog") for index in range(4))
        tables.add(table)
        numbers.add(json.dumps([report["metrics"], report["data"]]))
    assert len(tables) == len(numbers) == 1


if __name__ == "__main__":
    for number in (1, 2, 3):
        launch(number, [*sys.argv[2:], f"out={sys.argv[1]}/{number}"])
