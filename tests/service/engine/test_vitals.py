"""The pulse: at once, again and again, from its own thread, until it is stopped."""

import queue
import threading

import pytest
import torch

from service.engine.vitals import Vitals, device_memory, start_pulse


def test_the_first_beat_comes_at_once_and_others_follow_until_the_end() -> None:
    beats: queue.Queue[object] = queue.Queue()
    stop = start_pulse(beats.put, "cpu", every_s=0.001)
    threads = [thread for thread in threading.enumerate() if thread.name == "pulse"]
    try:
        assert [beats.get(timeout=60) for _ in range(3)] == [Vitals({})] * 3
    finally:
        stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_of_a_device() -> None:
    held = torch.zeros(2**20, dtype=torch.uint8, device="cuda")
    memory = device_memory("cuda")
    assert held.numel() <= memory["allocated"] <= memory["reserved"] <= memory["total"]
