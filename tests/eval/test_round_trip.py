"""Speed leaves the warm-up out; the rest is held by the jobs that use it."""

from pathlib import Path

import pytest
import torch

from eval.round_trip import Speed, Times, round_trip
from tokenizer.loading import load


def test_speed_leaves_the_first_batch_out_if_there_are_others() -> None:
    slow, fast = Times(4, 10.0, 10.0), Times(4, 1.0, 3.0)
    assert Speed.of([slow, fast, fast]) == Speed(both=1.0, encode=4.0, decode=4 / 3)
    assert Speed.of([slow]) == Speed(both=0.2, encode=0.4, decode=0.4)


def test_pictures_come_back_as_bytes_of_their_size(tokenizer_folder: Path) -> None:
    real = torch.randint(0, 256, (2, 3, 18, 21), dtype=torch.uint8)
    done = round_trip(load(tokenizer_folder), real, device=torch.device("cpu"))
    assert (done.fake.shape, done.fake.dtype) == (real.shape, torch.uint8)
    assert done.latent.size == (18, 21)
    assert done.times.count == 2
    assert done.times.encode_s > 0


def test_a_broken_network_is_an_error(tokenizer_folder: Path) -> None:
    tokenizer = load(tokenizer_folder)
    next(iter(tokenizer.parameters())).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        round_trip(tokenizer, torch.zeros(1, 3, 16, 16, dtype=torch.uint8), device=torch.device("cpu"))
