"""Ray Serve with ``@serve.batch``: a proxy process, a replica with the model.

``python -m eval.serving.peers.ray_serve PORT WORK.json``
"""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from eval.serving.work import Work, WorkConfig

BATCH_WAIT_S = 0.005
ONGOING = 4096  # requests that the replica may hold: the load, not this limit, is what is compared


def deployment(config: WorkConfig) -> serve.Application:
    """One replica over one operation."""

    @serve.deployment(
        num_replicas=1,
        max_ongoing_requests=ONGOING,
        ray_actor_options={"num_cpus": 1, "num_gpus": 0 if config.device == "cpu" else 1},
    )
    class Replica:
        def __init__(self) -> None:
            self._work = Work(config)

        @serve.batch(max_batch_size=config.max_batch, batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[untyped-decorator]  # not installed where types are checked
        async def run(self, bodies: list[bytes]) -> list[bytes]:
            return await asyncio.to_thread(self._work.run, bodies)

        async def __call__(self, request: Request) -> Response:
            return Response(await self.run(await request.body()), media_type=config.media_type)

    return Replica.bind()  # type: ignore[attr-defined]  # the decorator adds it


def start_cluster(attempts: int = 3) -> None:
    """A cluster of this process; on a busy machine Ray's own processes may not find each other within their 30 s.

    Raises:
        Exception: Ray's own, of the last attempt.
    """
    for attempt in range(attempts):
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
            return
        except Exception:  # what Ray raises here is nothing narrower
            ray.shutdown()
            if attempt + 1 == attempts:
                raise


def main() -> None:
    """The process."""
    port, plan = sys.argv[1:]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    config = WorkConfig.load(Path(plan))
    start_cluster()
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(deployment(config), route_prefix="/")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
