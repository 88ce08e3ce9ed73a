"""``encode`` as a job gives, byte for byte, what the request gives."""

from service.jobs.kinds.encode import ENCODE
from tests.service.conftest import Server, as_file, picture
from tests.service.jobs.kinds.conftest import as_job, same_answer


def test_as_a_job(server: Server) -> None:
    body = as_file(picture(40, 24))
    request = {"content": body, "params": {"model": "tiny", "format": "npy"}}
    assert same_answer(server.post(ENCODE.path, **request), as_job(server, ENCODE.path, **request))


def test_a_form_too(server: Server) -> None:
    request = {"files": {"file": ("a.png", as_file(picture(32, 32)))}}
    assert same_answer(server.post(ENCODE.path, **request), as_job(server, ENCODE.path, **request))
