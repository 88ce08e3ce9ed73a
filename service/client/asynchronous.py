"""``AsyncClient``: the calls of ``Client`` for callers with an event loop; many at once cost nothing more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import httpx

from service.client import calls
from service.client.answers import Health
from service.client.async_jobs import AsyncEvaluations, AsyncJobs
from service.client.calls import NO_OPTIONS, Generate, Options
from service.client.core import (
    LIMITS,
    Address,
    delay_after_broken,
    delay_after_refusal,
    lower,
    reply_of,
)
from service.client.errors import FAILURES, DeadlinePassed
from service.client.progress import ProgressReader
from service.client.retries import Retry, Tries
from service.engine.decoding import Decoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.client.answers import Model, Pictures, Reconstruction
    from service.client.calls import Call
    from service.client.latent import Latent
    from service.client.pictures import Picture
    from service.client.progress import Step
    from service.codecs import Output
    from service.wire.dtypes import LatentDtype

T = TypeVar("T")
READY_EVERY_S = 0.5


class AsyncClient:
    """A server of this project; see ``Client``, whose arguments and methods these are.

    Pictures and latents are read and written in a thread, so the loop goes on.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        retry: Retry = Retry(),  # noqa: B008  frozen
        options: Options = NO_OPTIONS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = Address.of(url, api_key)
        self._retry = retry
        self._options = options
        self._http = httpx.AsyncClient(limits=LIMITS, transport=transport)
        self.jobs = AsyncJobs(self)
        self.evaluations = AsyncEvaluations(self)

    @property
    def url(self) -> str:
        """Of the server."""
        return self._address.url

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def encode(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        what: Literal["latent", "indices"] = "latent",
        dtype: LatentDtype = "float32",
        num_tokens: int | None = None,
        options: Options | None = None,
    ) -> Latent:
        """A picture -> its latent, which travels as ``dtype``, or the indices of a discrete tokenizer.

        ``num_tokens``: of a row of tokens the first so many.
        """
        call = await asyncio.to_thread(
            calls.encode, picture, model=model, what=what, dtype=dtype, num_tokens=num_tokens
        )
        return await self.run(call, options)

    async def decode(
        self,
        latent: Latent | bytes,
        *,
        model: str | None = None,
        output: Output = "png",
        quality: int | None = None,
        dtype: LatentDtype = "float32",
        num_tokens: int | None = None,
        num_steps: int | None = None,
        seed: int | None = None,
        options: Options | None = None,
    ) -> Pictures:
        """A latent, or the bytes of its file -> its pictures; ``dtype`` is what it travels as.

        ``num_tokens``: of a row of tokens the first so many; ``num_steps`` and ``seed`` of a decoder that draws.
        """
        call = await asyncio.to_thread(
            calls.decode,
            latent,
            model=model,
            output=output,
            quality=quality,
            dtype=dtype,
            decoding=Decoding(num_tokens, num_steps, seed),
        )
        return await self.run(call, options)

    async def reconstruct(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        output: Output = "png",
        quality: int | None = None,
        num_tokens: int | None = None,
        num_steps: int | None = None,
        seed: int | None = None,
        options: Options | None = None,
    ) -> Reconstruction:
        """A picture -> what encoding and decoding leave of it, with the PSNR; see ``decode`` for the last three."""
        call = await asyncio.to_thread(
            calls.reconstruct,
            picture,
            model=model,
            output=output,
            quality=quality,
            decoding=Decoding(num_tokens, num_steps, seed),
        )
        return await self.run(call, options)

    async def generate(
        self,
        label: int | str | None = None,
        *,
        output: Output = "png",
        on_step: Callable[[Step], None] | None = None,
        options: Options | None = None,
        **asked: Any,  # the fields of Generate, checked by it
    ) -> Pictures:
        """A class, or ``prompt=``, and the other fields of ``Generate`` -> pictures; see ``Client.generate``."""
        call = calls.generate(Generate(label=label, **asked), output, stream=on_step is not None)
        if on_step is None:
            return await self.run(call, options)
        return await self._stream(call, on_step, options)

    async def generate_latent(
        self, label: int | str | None = None, *, options: Options | None = None, **asked: Any
    ) -> Latent:
        """As ``generate``, without decoding: the latents of its pictures."""
        return await self.run(calls.generate_latent(Generate(label=label, **asked)), options)

    async def models(self) -> list[Model]:
        """What is served."""
        return await self.run(calls.models())

    async def change_model(
        self,
        name: str,
        change: Literal["load", "unload", "default"],
        kind: Literal["tokenizer", "generator"] | None = None,
    ) -> Model:
        """Load a model and wait until it is warm, give its memory back, or make it the default of its kind."""
        return await self.run(calls.change_model(name, change, kind))

    async def limits(self) -> dict[str, float]:
        """What the server takes."""
        return await self.run(calls.limits())

    async def cancel(self, request_id: str) -> None:
        """Drop a request that another task or process has sent with this id."""
        await self.run(calls.cancel(request_id))

    async def health(self) -> Health:
        """Whether the process answers and the models are ready; asks once, raises nothing."""
        once = Retry(retries=0, deadline_s=10.0)
        live = False
        try:
            live = await self.run(calls.health("live"), retry=once)
            return Health(live, await self.run(calls.health("ready"), retry=once))
        except FAILURES as error:
            return Health(live, ready=False, problem=str(error))

    async def wait_ready(self, timeout_s: float = 600.0) -> None:
        """Return when the server is ready, whether it is up yet or not.

        Raises:
            DeadlinePassed: with the last reason why it was not.
        """
        deadline = time.monotonic() + timeout_s
        while not (health := await self.health()).ready:
            if time.monotonic() + READY_EVERY_S > deadline:
                raise DeadlinePassed(f"{self.url} was not ready within {timeout_s:g} s: {health.problem}")
            await asyncio.sleep(READY_EVERY_S)

    async def run(self, call: Call[T], options: Options | None = None, retry: Retry | None = None) -> T:
        """Carry a call.

        Raises:
            ServiceError, ClientError: see ``service.client.errors``.
        """
        call = call.told(options or self._options)
        tries = Tries(retry or self._retry, repeatable=call.repeatable)
        while True:
            try:
                reply = reply_of(await self._http.send(self._address.request(self._http, call, tries)))
            except httpx.TransportError as error:
                delay = delay_after_broken(error, tries, self.url)
            else:
                if reply.status < 400:
                    return call.parse(reply)
                delay = delay_after_refusal(reply, tries)
            await asyncio.sleep(delay)

    async def _stream(self, call: Call[T], on_step: Callable[[Step], None], options: Options | None) -> T:
        call = call.told(options or self._options)
        tries = Tries(self._retry, repeatable=call.repeatable)
        while True:
            try:
                request = self._address.request(self._http, call, tries)
                response = await self._http.send(request, stream=True)
                try:
                    if response.status_code < 400:
                        reader = ProgressReader(on_step)
                        async for line in response.aiter_lines():
                            reader.feed(line)
                        return call.parse(reader.reply(lower(response.headers)))
                    await response.aread()
                    delay = delay_after_refusal(reply_of(response), tries)
                finally:
                    await response.aclose()
            except httpx.TransportError as error:
                delay = delay_after_broken(error, tries, self.url)
            await asyncio.sleep(delay)
