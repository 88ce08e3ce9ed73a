"""``generate`` as a job gives what the request gives, and tells its steps."""

from service.jobs.kinds.generate import GENERATE
from tests.service.conftest import Server
from tests.service.jobs.kinds.conftest import as_job, same_answer, wait


def test_as_a_job(server: Server) -> None:
    # Pinned, as another bucket may round differently.
    request = {"json": {"label": "star", "seed": 7, "num_steps": 4}, "headers": {"x-batch-bucket": "1"}}
    assert same_answer(server.post(GENERATE.path, **request), as_job(server, GENERATE.path, **request))


def test_it_tells_its_steps(server: Server) -> None:
    asked = {"label": 1, "num_images": 2, "num_steps": 50, "seed": 1}
    started = server.post(GENERATE.path, json=asked, headers={"prefer": "respond-async"})
    job = wait(server, started.json()["id"])
    assert (job["kind"], job["status"], job["phase"], job["total"]) == ("generate", "completed", "steps", 50)
    assert job["done"] == 50
