"""``reconstruct`` as a job gives, byte for byte, what the request gives."""

from service.jobs.kinds.reconstruct import RECONSTRUCT
from tests.service.conftest import Server, as_file, picture
from tests.service.jobs.kinds.conftest import as_job, same_answer


def test_as_a_job(server: Server) -> None:
    request = {"content": as_file(picture(24, 40)), "params": {"model": "other"}}
    now, later = server.post(RECONSTRUCT.path, **request), as_job(server, RECONSTRUCT.path, **request)
    assert same_answer(now, later)
    assert now.headers["x-tessera-psnr"] == later.headers["x-tessera-psnr"]
