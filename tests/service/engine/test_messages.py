"""Messages cross the pipe whole."""

import pickle

import numpy as np

from service.engine.messages import Answer, DecodeJob, EncodeJob, Failure
from service.errors import NotFinite


def test_jobs_and_answers_cross_the_pipe() -> None:
    encode = EncodeJob(id=1, model="tiny", cost=9, submitted_at=1.5, body=b"bytes", format="npy", view="rgb")
    answer = Answer(1, b"body", "image/png", {"x-tessera-size": "1,2"}, 3, {"core": 1.0})
    for message in (encode, answer):
        assert pickle.loads(pickle.dumps(message)) == message


def test_latents_that_are_views_of_a_body_cross_too() -> None:
    body = np.arange(8, dtype=np.float32).tobytes()
    view = np.frombuffer(body, np.float32).reshape(1, 2, 2, 2)
    job = DecodeJob(
        id=1, model="tiny", cost=4, submitted_at=0.0, parts={"z": view}, size=(2, 2), output="png"
    )
    copy = pickle.loads(pickle.dumps(job))
    np.testing.assert_array_equal(copy.parts["z"], view)


def test_failures_keep_their_error() -> None:
    copy = pickle.loads(pickle.dumps(Failure(4, NotFinite("say what to do", param="z"))))
    assert (copy.id, type(copy.error), copy.error.param) == (4, NotFinite, "z")


def test_jobs_know_how_many_pictures_they_are() -> None:
    facts = {"id": 1, "model": "tiny", "cost": 1, "submitted_at": 0.0}
    for body, count in ((b"file", 1), ((b"a", b"b"), 2), (np.zeros((3, 4, 4, 3), np.uint8), 3)):
        assert EncodeJob(**facts, body=body, format="raw", view="rgb").num_images == count
    z, indices = np.zeros((5, 8, 1, 1), np.float32), np.zeros((4, 1, 1), np.uint16)
    assert DecodeJob(**facts, parts={"z": z}, size=(4, 4), output="png").num_images == 5
    assert DecodeJob(**facts, parts={}, indices=indices, size=(4, 4), output="png").num_images == 4
