"""LitServe: its own HTTP process, batches of up to the cap, a worker process with the model.

``python -m eval.serving.peers.lightning PORT WORK.json``. It waits 5 ms for a batch to fill: with no wait at all its
worker asks an empty queue in a tight loop and takes a core from everybody else.

Annotations are read at run time by LitServe and FastAPI, so they are not deferred here.
"""

import sys
from pathlib import Path
from typing import Annotated

from fastapi import Body, Response
from litserve import LitAPI, LitServer

from eval.serving.work import Work, WorkConfig

BATCH_WAIT_S = 0.005


class Api(LitAPI):  # type: ignore[misc]  # litserve may be missing where types are checked
    """One operation; codecs and network in ``predict``, so that codecs of a batch share threads."""

    def __init__(self, config: WorkConfig) -> None:
        super().__init__(max_batch_size=config.max_batch, batch_timeout=BATCH_WAIT_S)
        self._config = config

    def setup(self, device: str) -> None:
        """Load the model in the worker; the device is the plan's."""
        self._work = Work(self._config)

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
        """The body as it is."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """A list is what ``Work.run`` takes."""
        return list(inputs)

    def predict(self, x: list[bytes]) -> list[bytes]:
        """From bodies to answers."""
        return self._work.run(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """One answer an item."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """The bytes as they are."""
        return Response(output, media_type=self._config.media_type)


def main() -> None:
    """The process."""
    port, plan = sys.argv[1:]
    config = WorkConfig.load(Path(plan))
    accelerator = "cpu" if config.device == "cpu" else "cuda"
    server = LitServer(Api(config), accelerator=accelerator, devices=1, timeout=False)
    server.run(
        host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False, access_log=False
    )


if __name__ == "__main__":
    main()
