"""``decode`` as a job gives, byte for byte, what the request gives."""

from service.jobs.kinds.decode import DECODE
from tests.service.conftest import Server, as_file, picture
from tests.service.jobs.kinds.conftest import as_job, same_answer


def test_as_a_job(server: Server) -> None:
    latent = server.post("/v1/encode", content=as_file(picture(40, 24)), params={"format": "npy"})
    headers = {name: latent.headers[name] for name in ("x-tessera-size", "x-tessera-spec")}
    request = {"content": latent.content, "headers": headers, "params": {"output": "webp"}}
    assert same_answer(server.post(DECODE.path, **request), as_job(server, DECODE.path, **request))
