"""``AsyncClient``: what ``Client`` does, many at once."""

import asyncio
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from service.client import AsyncClient, Retry, Step
from service.client.errors import DeadlinePassed, Unreachable
from service.errors import QueueFull
from tests.service.client.test_blocking import FULL, broken, full, good, nobody
from tests.service.conftest import Server, free_port, picture


def scripted(*answers: Callable[[], httpx.Response]) -> tuple[AsyncClient, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    script = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return next(script)()

    quick = Retry(retries=3, first_delay_s=0.001, max_delay_s=0.002)
    return AsyncClient("http://here", retry=quick, transport=httpx.MockTransport(answer)), seen


def test_all_calls_against_the_server(server: Server) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            await client.wait_ready(5.0)
            pixels = [picture(16, 24, seed) for seed in range(6)]
            latents = await asyncio.gather(*[client.encode(one, model="tiny") for one in pixels])
            decoded = await asyncio.gather(
                *[client.decode(one, model="tiny", output="npy") for one in latents]
            )
            made = await asyncio.gather(*[client.reconstruct(one, model="tiny") for one in pixels])
            for through, whole in zip(decoded, made, strict=True):  # other batches may round otherwise
                difference = through[0].array().astype(int) - whole.picture.array().astype(int)
                assert np.abs(difference).max() <= 1
            steps: list[Step] = []
            streamed = await client.generate(0, seed=1, num_steps=3, on_step=steps.append)
            plain = await client.generate(0, seed=1, num_steps=3)
            np.testing.assert_array_equal(streamed.arrays(), plain.arrays())
            assert steps
            assert (await client.generate_latent(0, seed=1, num_steps=3)).size == (32, 32)
            assert "tiny" in {model.name for model in await client.models()}
            assert (await client.limits())["max_images"] == 8
            assert (await client.health()).ready

    asyncio.run(main())


def test_retries_are_those_of_client() -> None:
    async def main() -> None:
        client, seen = scripted(full, nobody, good)
        async with client:
            assert await client.models() == []
        assert len(seen) == 3
        client, seen = scripted(broken)
        async with client:
            with pytest.raises(Unreachable):
                await client.encode(b"x")
        assert len(seen) == 1
        client, seen = scripted(*[lambda: httpx.Response(429, json=FULL)] * 4)
        async with client:
            with pytest.raises(QueueFull):
                await client.generate(0, on_step=lambda _: None)
        assert len(seen) == 4

    asyncio.run(main())


def test_waiting_for_a_server_that_does_not_come() -> None:
    async def main() -> None:
        async with AsyncClient(f"http://127.0.0.1:{free_port()}") as client:
            with pytest.raises(DeadlinePassed, match="cannot be reached"):
                await client.wait_ready(0.0)

    asyncio.run(main())
