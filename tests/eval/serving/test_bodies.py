"""Requests of a measurement: whole, the same again, and what the operations take."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load as read_safetensors

from eval.serving import bodies
from eval.serving.session import Session, spec_id_of
from eval.serving.work import WorkConfig
from tokenizer.core import checkpoint


def test_pictures_are_the_same_again_and_compress_like_photographs() -> None:
    first, again, other = (bodies.picture(256, 256, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    ratio = first.size / len(bodies.picture_file(first, "JPEG", quality=90))
    assert 4 < ratio < 20
    png = first.size / len(bodies.picture_file(first, "PNG"))
    assert 1.1 < png < 3


def test_requests_of_every_operation(session: Session, tmp_path: Path) -> None:
    config, spec_id = checkpoint.read_config(session.free), spec_id_of(session.free)

    def first(work: WorkConfig, raw: bool) -> bytes:
        made = bodies.requests(work, tmp_path, side=128, spec_id=spec_id, config=config, raw=raw, seed=3)
        assert len({asked.body for asked in made}) == bodies.COUNT
        assert made[0].body is not None
        return Path(made[0].body).read_bytes()

    encode = session.work("encode")
    assert np.load(io.BytesIO(first(encode, True))).shape == (128, 128, 3)
    with Image.open(io.BytesIO(first(encode, False))) as image:
        assert (image.format, image.size) == ("JPEG", (128, 128))
    assert read_safetensors(first(session.work("decode"), False))["z"].shape == (1, 8, 2, 2)
    generate = encode.model_copy(update={"operation": "generate", "num_steps": 7})
    asked = json.loads(first(generate, False))
    assert (asked["num_steps"], asked["seed"], asked["output"]) == (7, 3, "jpeg")
