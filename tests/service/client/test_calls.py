"""What each call sends."""

import json

import numpy as np
import pytest

from service.client import calls
from service.client.answers import Reply
from service.client.calls import Generate, Options
from service.client.errors import BadAnswer
from service.client.latent import Latent
from service.engine.decoding import Decoding

LATENT = Latent({"z": np.zeros((1, 4, 2, 2), np.float32)}, (8, 8), "ab")


def test_encode_and_reconstruct_send_the_picture() -> None:
    sent = calls.encode(b"picture", model="a", what="indices")
    assert (sent.method, sent.path, sent.content) == ("POST", "/v1/encode", b"picture")
    assert sent.query == {"model": "a", "what": "indices", "format": "safetensors"}
    assert calls.encode(b"picture").query == {"what": "latent", "format": "safetensors"}
    assert calls.reconstruct(b"picture", output="jpeg").query == {"output": "jpeg"}


def test_tokens_steps_and_seeds_are_sent_where_they_are_given() -> None:
    assert calls.encode(b"picture", num_tokens=8).query["num_tokens"] == "8"
    wishes = Decoding(num_tokens=8, num_steps=2, seed=0)
    told = {"num_tokens": "8", "num_steps": "2", "seed": "0"}
    assert calls.decode(b"file", decoding=wishes).query == {"output": "png"} | told
    assert calls.reconstruct(b"picture", decoding=wishes).query == {"output": "png"} | told
    assert calls.decode(b"file").query == {"output": "png"}


def test_decode_sends_a_file_made_or_as_it_is() -> None:
    made = calls.decode(LATENT, dtype="float16")
    assert made.content is not None
    np.testing.assert_array_equal(Latent.from_bytes(made.content).z, LATENT.z)
    assert calls.decode(b"file").content == b"file"
    assert made.headers["content-type"] == "application/vnd.safetensors"


def test_generate_says_only_what_is_given() -> None:
    body = calls.generate(Generate(label="cat", seed=0, size=(8, 8)), "jpeg").content
    assert json.loads(body or b"") == {
        "label": "cat",
        "seed": 0,
        "size": [8, 8],
        "num_images": 1,
        "output": "jpeg",
    }
    streamed = calls.generate(Generate(prompt="a cat"), stream=True).content
    assert json.loads(streamed or b"")["stream"] is True
    assert json.loads(calls.generate_latent(Generate(label=1)).content or b"")["output"] == "latent"


def test_only_harmless_calls_are_repeatable() -> None:
    assert not calls.encode(b"x").repeatable
    assert not calls.generate(Generate(label=0)).repeatable
    assert calls.models().repeatable
    assert calls.cancel("a").repeatable


def test_names_stay_one_part_of_the_path() -> None:
    assert calls.cancel("../models/a?b").path == "/v1/requests/..%2Fmodels%2Fa%3Fb"
    sent = calls.change_model("a b", "unload", "generator")
    assert (sent.method, sent.path, sent.query) == ("POST", "/v1/models/a%20b/unload", {"kind": "generator"})
    assert sent.repeatable


def test_options_go_into_headers_and_defaults_do_not() -> None:
    assert Options().headers() == {}
    options = Options("batch", timeout_s=0.0001, batch_bucket=4, request_id="a", cancel_on_disconnect=False)
    assert calls.decode(b"file").told(options).headers == {
        "content-type": "application/vnd.safetensors",
        "x-priority": "batch",
        "x-timeout-ms": "1",
        "x-batch-bucket": "4",
        "x-request-id": "a",
        "x-cancel-on-disconnect": "false",
    }


def test_limits() -> None:
    assert calls.limits().parse(Reply(200, {}, b'{"limits": {"max_pixels": 4}}')) == {"max_pixels": 4}
    with pytest.raises(BadAnswer):
        calls.limits().parse(Reply(200, {}, b'{"data": []}'))
