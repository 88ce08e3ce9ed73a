"""What most people write first: a FastAPI handler, a thread a request, a lock around the network.

``python -m eval.serving.peers.plain PORT WORK.json``
"""

import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from eval.serving.work import Work, WorkConfig


def create_app(work: Work) -> FastAPI:
    """One route over one operation."""
    app = FastAPI()
    lock = threading.Lock()

    def answer(body: bytes) -> bytes:
        item = work.before(body)
        with lock:
            (array,) = work.core([item])
        return work.after(array)

    @app.post("/")
    async def handle(request: Request) -> Response:
        body = await request.body()
        return Response(await run_in_threadpool(answer, body), media_type=work.config.media_type)

    return app


def main() -> None:
    """The process."""
    port, plan = sys.argv[1:]
    work = Work(WorkConfig.load(Path(plan)))
    uvicorn.run(create_app(work), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
