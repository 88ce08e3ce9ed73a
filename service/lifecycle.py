"""Loads and unloads models: those in use stay, and as many others as the memory budget holds.

A request keeps its model, and the tokenizer that the model needs, loaded until it is answered. One for a model that
is not loaded waits until it is; what was used least recently, and by nobody now, leaves for it. Loads run one after
the other, and whatever goes wrong with one concerns those alone who wait for it. All state belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from service.engine.messages import GenerateJob
from service.errors import (
    InternalError,
    ModelChanged,
    ModelFailed,
    ModelInUse,
    ModelLoading,
    NoModelMemory,
    QueueFull,
    ServiceError,
    Unavailable,
    UnknownModel,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from service.engine.messages import Job, Kind, ModelLoaded, ModelSource
    from service.registry import Key, Registry
    from service.residence import Residence, Residences

logger = logging.getLogger(__name__)

# A request does not try again what failed so short a time ago; asking for the load itself always does.
RETRY_S = 30.0


class Loader(Protocol):
    """What loads models: the engine."""

    async def load(self, source: ModelSource) -> ModelLoaded:
        """Load a model in the worker; a ServiceError says why it could not be."""
        ...

    async def unload(self, kind: Kind, name: str) -> None:
        """Give its memory back."""
        ...


@dataclass(slots=True)
class Bringing:
    """A model that is being brought in, and who waits for it."""

    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None  # held, or the loop might forget it

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits."""
        return any(not waiter.done() for waiter in self.waiters)


class Lifecycle:
    """The models of a registry as they come and go.

    Args:
        registry: the models.
        residences: where they are.
        loader: loads them.
        wait_s: longest time that a request waits for its model, or a load for memory.
        max_waiting: most requests that wait for models at once.
    """

    def __init__(
        self, registry: Registry, residences: Residences, loader: Loader, *, wait_s: float, max_waiting: int
    ) -> None:
        self._registry = registry
        self._residences = residences
        self._loader = loader
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self._bringing: dict[Key, Bringing] = {}
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def memory_bytes(self) -> int:
        """Memory that all loaded models hold."""
        return self._residences.memory_bytes

    @property
    def budget_bytes(self) -> int | None:
        """Most memory that they may hold; None for no limit."""
        return self._residences.budget_bytes or None

    def facts(self, key: Key) -> dict[str, Any]:  # JSON
        """What GET /v1/models tells of a model's whereabouts."""
        at = self._residences[key]
        return {
            "state": at.state,
            "memory_bytes": at.memory_bytes,
            "load_seconds": at.seconds,
            "in_use": at.users,
            "error": None if at.error is None else at.error.message,
        }

    def told(self, loaded: ModelLoaded) -> None:
        """A worker has loaded a model, at its start or when asked; as all of ``engine.keeper.Keeper``."""
        self._residences[loaded.kind, loaded.name].loaded(loaded)

    def lost(self) -> None:
        """No worker has any model any more; requests load them again, one by one."""
        for key in self._residences.loaded():
            self._residences[key].gone()

    def gate(self, job: Job) -> AbstractAsyncContextManager[None]:
        """Keep what a job works with loaded; as ``use``."""
        kind: Kind = "generator" if isinstance(job, GenerateJob) else "tokenizer"
        return self.use((kind, job.model), job.deadline)

    @asynccontextmanager
    async def use(self, key: Key, deadline: float | None = None) -> AsyncIterator[None]:
        """Keep a model and what it needs loaded for the length of the block; loads them first if they are not.

        Args:
            key: of the model.
            deadline: ``time.monotonic()`` until which to wait at most.

        Raises:
            UnknownModel, QueueFull, ModelLoading, NoModelMemory, ModelFailed, ModelChanged, or why there is no worker.
        """
        residences = [self._residences[part] for part in self._parts(key)]
        if all(at.state == "loaded" for at in residences):
            _take(residences)
        else:
            await self._wait_for(key, residences, deadline)
        try:
            yield
        finally:
            self._release(residences)

    async def load(self, key: Key) -> None:
        """Load a model and what it needs, even if that failed before.

        Raises:
            As ``use`` does.
        """
        for part in self._parts(key):
            at = self._residences[part]
            if at.state == "failed":
                at.state, at.error = "unloaded", None
        async with self.use(key):
            pass

    async def unload(self, key: Key) -> None:
        """Give a model's memory back; a failure is forgotten.

        Raises:
            ModelInUse: a request, or a loaded generator, works with it.
            ModelLoading: another model is being loaded for so long that its turn did not come.
        """
        try:
            async with asyncio.timeout(self._wait_s), self._turn:
                self._refuse_used(key)
                at = self._residences[key]
                if at.state == "loaded":
                    await self._evict(key)
                at.state, at.error = "unloaded", None
        except TimeoutError:
            raise _still_loading(key) from None

    async def forget(self, key: Key) -> None:
        """Unload a model and take it out of the registry.

        Raises:
            As ``unload``, and ModelInUse if a generator of the registry needs it.
        """
        needing = [
            other[1] for other in self._registry.known if other != key and key in self._registry.needs(other)
        ]
        if needing:
            raise ModelInUse(
                f"{key[0]} {key[1]!r} decodes for {', '.join(needing)}: remove that first", param="model"
            )
        await self.unload(key)
        self._registry.remove(key)
        self._residences.drop(key)

    def _parts(self, key: Key) -> list[Key]:
        try:
            return self._registry.needs(key)
        except KeyError:
            raise UnknownModel(
                f"no {key[0]} {key[1]!r}: GET /v1/models lists those there are", param="model"
            ) from None

    def _release(self, residences: list[Residence]) -> None:
        for at in residences:
            at.users -= 1
            at.used_at = time.monotonic()
        self._freed.set()

    async def _wait_for(self, key: Key, residences: list[Residence], deadline: float | None) -> None:
        """Wait until all are loaded and taken; whoever brings them in takes them for those who wait."""
        for at in residences:
            if at.state == "failed" and at.error is not None and time.monotonic() - at.failed_at < RETRY_S:
                raise copy.copy(at.error)
        if sum(len(bringing.waiters) for bringing in self._bringing.values()) >= self._max_waiting:
            raise QueueFull(
                f"{self._max_waiting} requests wait for models to be loaded: ask again in 5 s",
                details={"retry_after_s": 5},
            )
        bringing = self._bringing.get(key)
        if bringing is None:
            bringing = self._bringing[key] = Bringing()
            bringing.task = asyncio.create_task(self._bring(key, bringing))
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        bringing.waiters.append(waiter)
        limit = self._wait_s if deadline is None else min(self._wait_s, deadline - time.monotonic())
        try:
            async with asyncio.timeout(limit):
                await waiter
        except BaseException as error:
            bringing.waiters.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(residences)  # it was loaded in the very moment in which nobody waited any more
            waiter.cancel()
            self._freed.set()  # the load may wait for memory that nobody needs now
            if isinstance(error, TimeoutError):
                raise _still_loading(key) from None
            raise

    async def _bring(self, key: Key, bringing: Bringing) -> None:
        try:
            async with self._turn:
                parts = self._parts(key)
                for part in parts:
                    await self._load(part, parts, bringing)
                residences = [self._residences[part] for part in parts]
                for waiter in bringing.waiters:
                    if not waiter.done():
                        _take(residences)
                        waiter.set_result(None)
        except Exception as error:
            if not isinstance(error, ServiceError):
                logger.exception("%s %s could not be loaded", *key)
                error = InternalError(
                    f"{key[0]} {key[1]!r} could not be loaded: the server's log has the reason"
                )
            for waiter in bringing.waiters:
                if not waiter.done():
                    waiter.set_exception(copy.copy(error))
        finally:
            del self._bringing[key]
            for waiter in bringing.waiters:
                waiter.cancel()  # when the server ends; otherwise all are done

    async def _load(self, key: Key, parts: list[Key], bringing: Bringing) -> None:
        at = self._residences[key]
        if at.state == "loaded":
            return
        at.state, at.error = "loading", None
        try:
            await self._refuse_changed(key)
            await self._make_room(key, parts, bringing)
            told = await self._loader.load(self._registry.source(key))
        except (ModelChanged, ModelFailed) as error:
            logger.warning("%s", error.message)
            at.failed(error)
            raise
        except Unavailable:  # no memory, or no worker: nothing is wrong with the model
            at.state = "unloaded"
            raise
        except ServiceError as error:
            failure = _failed(key, error.message.replace(str(self._registry.model(key).path), key[1]))
            logger.warning("%s", failure.message)
            at.failed(failure)
            raise failure from None
        except BaseException:
            at.state = "unloaded"
            raise
        at.loaded(told)
        logger.info("%s %s is loaded, %d bytes in %.1f s", *key, told.memory_bytes, told.seconds)

    async def _refuse_changed(self, key: Key) -> None:
        """What is loaded must be what was read: clients know the model by its spec_id."""
        known = self._registry.model(key)
        try:
            found = await asyncio.to_thread(self._registry.reread, key)
        except ValueError as error:
            raise _failed(key, str(error).replace(str(known.path), key[1])) from None
        if found != known.spec_id:
            raise ModelChanged(
                f"the folder of {key[0]} {key[1]!r} was spec {known.spec_id} when it was read and is spec {found} now: "
                "put the old files back, add it under another name, or start the server again",
                param="model",
                details={"spec_id": known.spec_id, "found_spec_id": found},
            )

    async def _make_room(self, key: Key, parts: list[Key], bringing: Bringing) -> None:
        """Unload what was used least recently until the model fits; wait while everything is in use."""
        if not self._residences.fits(parts):
            needed, budget = sum(self._residences.estimate(part) for part in parts), self.budget_bytes
            raise NoModelMemory(
                f"{key[0]} {key[1]!r} needs {needed} bytes and TESSERA_MODEL_MEMORY_BYTES is {budget}: "
                "raise it, or use a smaller model",
                param="model",
            )
        full = NoModelMemory(
            f"the models in use leave no room for {key[0]} {key[1]!r}: ask again, or raise TESSERA_MODEL_MEMORY_BYTES",
            param="model",
            details={"retry_after_s": 10},
        )
        try:
            async with asyncio.timeout(self._wait_s):
                while not self._residences.has_room(key):
                    victim = self._residences.least_recently_used(parts)
                    if victim is not None:
                        await self._evict(victim)
                    elif not bringing.is_wanted:
                        raise full
                    else:
                        self._freed.clear()
                        await self._freed.wait()
        except TimeoutError:
            raise full from None

    async def _evict(self, key: Key) -> None:
        at = self._residences[key]
        at.state = "unloaded"  # from now on a request waits for its turn
        try:
            await self._loader.unload(*key)
        except Unavailable:
            logger.info("%s %s left with its worker", *key)
        except BaseException:
            at.state = "loaded"
            raise
        at.gone()
        logger.info("%s %s is unloaded", *key)

    def _refuse_used(self, key: Key) -> None:
        needing = [other[1] for other in self._residences.needing(key)]
        if needing:
            raise ModelInUse(
                f"{key[0]} {key[1]!r} decodes for {', '.join(needing)}: unload that first", param="model"
            )
        if self._residences[key].users or any(key in self._parts(other) for other in self._bringing):
            raise ModelInUse(
                f"{key[0]} {key[1]!r} works for a request: ask again when it is done", param="model"
            )


def _take(residences: list[Residence]) -> None:
    for at in residences:
        at.users += 1
        at.used_at = time.monotonic()


def _failed(key: Key, reason: str) -> ModelFailed:
    return ModelFailed(f"{key[0]} {key[1]!r} could not be loaded: {reason}", param="model")


def _still_loading(key: Key) -> ModelLoading:
    return ModelLoading(
        f"{key[0]} {key[1]!r} is not loaded yet: ask again in a few seconds, GET /v1/models tells its state",
        param="model",
        details={"retry_after_s": 5},
    )
