"""Progress lines: what programs read of a job while it runs."""

import json
from pathlib import Path
from typing import Any

from eval.progress import FILE, Progress


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_phase(tmp_path: Path) -> None:
    clock = Clock()
    with Progress(tmp_path, "reconstruct", 10, clock=clock) as bar:
        clock.now += 0.1
        bar.update(2)  # too soon for a line
        clock.now += 0.9
        bar.update(2)
    first, second, last = lines(tmp_path)
    assert first == {"phase": "reconstruct", "done": 0, "total": 10, "images_per_s": None, "eta_s": None}
    assert second == {"phase": "reconstruct", "done": 4, "total": 10, "images_per_s": 4.0, "eta_s": 1.5}
    assert last == second


def test_phases_count_on_and_know_no_end_before_the_last(tmp_path: Path) -> None:
    clock = Clock()
    with Progress(tmp_path, "generate", 4, to_come=6, clock=clock) as bar:
        clock.now += 1
        bar.update(4)
    with Progress(tmp_path, "reference", 6, before=4, clock=clock) as bar:
        clock.now += 1
        bar.update(3)
    found = lines(tmp_path)
    assert [(line["phase"], line["done"], line["total"]) for line in found] == [
        ("generate", 0, 10),
        ("generate", 4, 10),
        ("generate", 4, 10),
        ("reference", 4, 10),
        ("reference", 7, 10),
        ("reference", 7, 10),
    ]
    assert found[1]["eta_s"] is None
    assert found[-1]["eta_s"] == 1.0


def test_what_was_kept_counts_and_makes_no_speed(tmp_path: Path) -> None:
    clock = Clock()
    other = [0]
    with Progress(tmp_path, "reconstruct", 20, kept=10, elsewhere=lambda: other[0], clock=clock) as bar:
        clock.now += 1
        other[0] = 3
        bar.update(1)
        clock.now += 1
        other[0] = 4
        bar.update()  # only the others
    first, second, third, _ = lines(tmp_path)
    assert (first["done"], first["images_per_s"]) == (10, None)
    assert (second["done"], second["images_per_s"], second["eta_s"]) == (14, 4.0, 1.5)
    assert (third["done"], third["images_per_s"], third["eta_s"]) == (15, 2.5, 2.0)


def test_a_process_that_does_not_tell_writes_nothing(tmp_path: Path) -> None:
    with Progress(None, "reconstruct", 20) as bar:
        bar.update(20)
    assert not list(tmp_path.iterdir())
