"""Reconstruct: encode and decode in one, with the PSNR of exactly what is answered."""

import io
import math

import numpy as np
import pytest
import torch

from service.engine.messages import ReconstructJob
from service.engine.models import Models
from service.engine.operations.base import Pass
from service.engine.operations.reconstruct import Reconstruct, psnr
from tests.service.conftest import as_file, picture


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (150, 140)])
def test_psnr_is_that_of_the_answer(loaded: Models, size: tuple[int, int]) -> None:
    pixels = picture(*size)
    job = ReconstructJob(id=1, model="tiny", cost=1, submitted_at=0.0, body=as_file(pixels), output="npy")
    operation = Reconstruct(loaded)
    prepared = operation.before(job)
    with torch.inference_mode():
        (result,) = operation.core([prepared.payload], Pass(1))
        answer = operation.after(job, prepared.payload, result)
    back = np.load(io.BytesIO(answer.body))
    assert back.shape == pixels.shape
    squared = np.mean((pixels.astype(float) - back) ** 2)
    assert float(answer.headers["x-tessera-psnr"]) == pytest.approx(
        10 * math.log10(255**2 / squared), abs=1e-3
    )


def test_psnr_in_closed_form() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, black + 255) == 0.0
    assert psnr(black + 1, black) == pytest.approx(20 * math.log10(255))
