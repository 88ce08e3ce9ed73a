"""``Client`` against the running server, and against servers that fail in every way."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.client import Client, Latent, Options, Retry, Step
from service.client.errors import BadAnswer, DeadlinePassed, Unreachable
from service.errors import NotAnImage, QueueFull, UnknownModel, WorkerDied
from tests.service.conftest import CLASS_NAMES, Server, as_file, free_port, picture

FULL = {"error": {"code": "queue_full", "message": "ask again", "param": None}}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as made:
        yield made


def scripted(
    *answers: Callable[[], httpx.Response], retry: Retry | None = None
) -> tuple[Client, list[httpx.Request]]:
    """A client whose server answers with these, in turn."""
    seen: list[httpx.Request] = []
    script = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return next(script)()

    quick = retry or Retry(retries=3, first_delay_s=0.001, max_delay_s=0.002)
    return Client("http://here", retry=quick, transport=httpx.MockTransport(answer)), seen


def full() -> httpx.Response:
    return httpx.Response(429, json=FULL, headers={"retry-after-ms": "1"})


def good() -> httpx.Response:
    return httpx.Response(200, json={"data": [], "limits": {}})


def broken() -> httpx.Response:
    raise httpx.ReadError("connection reset")


def nobody() -> httpx.Response:
    raise httpx.ConnectError("connection refused")


def test_encode_decode_and_reconstruct_agree(client: Client, tmp_path: Path) -> None:
    pixels = picture(37, 50)
    (tmp_path / "a.png").write_bytes(as_file(pixels))
    forms = [pixels, Image.fromarray(pixels), as_file(pixels), tmp_path / "a.png"]
    latents = [client.encode(form, model="tiny") for form in forms]
    for latent in latents:
        np.testing.assert_array_equal(latent.z, latents[0].z)
        assert latent.size == (37, 50)
    latents[0].save(tmp_path / "a.safetensors")
    decoded = client.decode(Latent.load(tmp_path / "a.safetensors"), model="tiny")
    made = client.reconstruct(pixels, model="tiny")
    np.testing.assert_array_equal(decoded[0].array(), made.picture.array())
    assert made.picture.array().shape == pixels.shape
    assert made.psnr > 0
    assert made.pixel_bytes == pixels.size
    assert {"queue", "core"} <= set(made.told.timings_ms)


def test_indices_go_and_come(client: Client) -> None:
    indices = client.encode(picture(16, 16), model="codes", what="indices")
    assert indices.indices is not None
    assert indices.indices.dtype == np.uint16
    through = client.decode(indices, model="codes", output="npy")
    np.testing.assert_array_equal(
        through[0].array(), client.reconstruct(picture(16, 16), model="codes").picture.array()
    )


def test_generate_with_news_of_every_step_gives_the_same_pictures(client: Client) -> None:
    steps: list[Step] = []
    streamed = client.generate(CLASS_NAMES[1], seed=3, num_images=2, num_steps=4, on_step=steps.append)
    plain = client.generate(1, seed=3, num_images=2, num_steps=4)
    np.testing.assert_array_equal(streamed.arrays(), plain.arrays())
    assert streamed.seed == plain.seed == 3
    assert {step.num_steps for step in steps} == {4}
    latent = client.generate_latent(1, seed=3, num_images=2, num_steps=4)
    np.testing.assert_array_equal(client.decode(latent, model="tiny", output="npy").arrays(), plain.arrays())


def test_models_limits_and_health(client: Client) -> None:
    found = {(model.name, model.kind) for model in client.models()}
    assert {("tiny", "tokenizer"), ("shapes", "generator")} <= found
    assert client.limits()["max_images"] == 8
    client.wait_ready(5.0)
    health = client.health()
    assert (health.live, health.ready, health.problem) == (True, True, None)


def test_errors_of_the_server_are_its_own(client: Client) -> None:
    with pytest.raises(NotAnImage, match="send PNG"):
        client.encode(b"no picture")
    with pytest.raises(UnknownModel, match="tiny"):
        client.encode(picture(8, 8), model="nothing")


def test_a_request_can_be_named(client: Client) -> None:
    made = client.reconstruct(picture(8, 8), options=Options(request_id="my-own-name", timeout_s=60.0))
    assert made.told.request_id == "my-own-name"


def test_a_full_server_is_asked_again_until_it_answers() -> None:
    client, seen = scripted(full, full, good)
    with client:
        assert client.models() == []
    assert len(seen) == 3


def test_patience_ends_with_the_servers_own_words() -> None:
    client, seen = scripted(*[full] * 4)
    with client, pytest.raises(QueueFull, match="ask again"):
        client.encode(b"x")
    assert len(seen) == 4


def test_a_broken_post_is_not_sent_twice_and_a_broken_get_is() -> None:
    client, seen = scripted(broken)
    with client, pytest.raises(Unreachable, match="reset"):
        client.encode(b"x")
    assert len(seen) == 1
    client, seen = scripted(broken, nobody, good)
    with client:
        assert client.models() == []
    assert len(seen) == 3


def test_a_stream_is_asked_again_while_it_is_refused() -> None:
    lines = (
        b'event: error\ndata: {"error": {"code": "worker_died", "message": "ask again", "param": null}}\n\n'
    )
    stream = lambda: httpx.Response(200, content=lines, headers={"content-type": "text/event-stream"})  # noqa: E731
    client, seen = scripted(full, nobody, stream)
    with client, pytest.raises(WorkerDied, match="ask again"):
        client.generate(0, on_step=lambda _: None)
    assert len(seen) == 3


def test_something_else_at_the_address() -> None:
    client, _ = scripted(lambda: httpx.Response(404, text="<html>nothing here</html>"))
    with client, pytest.raises(BadAnswer, match="nothing here"):
        client.models()


def test_waiting_for_a_server_that_does_not_come() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(DeadlinePassed, match="cannot be reached"):
            client.wait_ready(0.0)
        health = client.health()
    assert not health.live
    assert "cannot be reached" in str(health.problem)


def test_unknown_arguments_of_generate_are_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="steps"):
        client.generate(0, steps=3)
