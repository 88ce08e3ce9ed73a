"""Rows of tokens on the wire: any allowed number of them, with or without a batch axis, and as indices."""

import numpy as np
import pytest

from service import wire
from service.errors import WrongShape
from service.wire import Stored, WireLatent
from tokenizer.spec import LatentSpec

SPEC_ID = "0123456789abcdef"
LIMITS = {"max_pixels": 10_000, "max_batch": 2}
METADATA = {"size": "20,30", "spec_id": SPEC_ID}
DTYPES = ("float32", "float16", "bfloat16", "uint8")
ROW = LatentSpec.image(4, 8, num_tokens=(2, 6))
CODES = LatentSpec.image(4, 8, num_tokens=(2, 6), codebook_size=16)


def latent(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("count", [2, 5, 6])
def test_a_row_may_have_fewer_tokens(count: int) -> None:
    """With or without a batch axis, quantised or not, and as indices."""
    z = latent(2, 4, count)
    for dtype in DTYPES:
        written = wire.write_latent({"z": z}, METADATA, file_format="safetensors", dtype=dtype)  # type: ignore[arg-type]
        checked = wire.check(wire.read_latent(written.body, {}), ROW, SPEC_ID, **LIMITS)
        assert checked.parts["z"].shape == (2, 4, count)
        assert np.abs(checked.parts["z"] - z).max() <= 0.02 * np.abs(z).max()
    alone = wire.check(WireLatent({"z": Stored(z[0])}, "20,30", SPEC_ID), ROW, SPEC_ID, **LIMITS)
    assert alone.parts["z"].shape == (1, 4, count)
    codes = np.arange(2 * count, dtype=np.uint16).reshape(2, count)
    coded = wire.check(WireLatent({}, "20,30", SPEC_ID, codes), CODES, SPEC_ID, **LIMITS)
    np.testing.assert_array_equal(coded.indices, codes)


@pytest.mark.parametrize("shape", [(1, 4, 1), (1, 4, 7), (1, 3, 6), (1, 4, 6, 1), (4,)])
def test_a_row_that_cannot_be_is_refused_with_what_can(shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongShape, match=r"\[1, 4, 6\] \(or fewer tokens, 2 to 6\)"):
        wire.check(WireLatent({"z": Stored(latent(*shape))}, "20,30", SPEC_ID), ROW, SPEC_ID, **LIMITS)


def test_more_tokens_than_were_sent_are_refused() -> None:
    sent = wire.check(WireLatent({"z": Stored(latent(1, 4, 3))}, "20,30", SPEC_ID), ROW, SPEC_ID, **LIMITS)
    wire.refuse_tokens(sent, None, ROW)
    wire.refuse_tokens(sent, 3, ROW)
    with pytest.raises(WrongShape, match="3 tokens were sent, of which the first 4 do not decode"):
        wire.refuse_tokens(sent, 4, ROW)
