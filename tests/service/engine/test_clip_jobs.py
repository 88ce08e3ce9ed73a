"""Jobs on clips cross the pipe, and say what they hold of a worker at a time."""

import pickle
from fractions import Fraction

import numpy as np

from service.engine.admission import room, weight
from service.engine.clip_jobs import DecodeClipJob, EncodeClipJob, ReconstructClipJob, crf
from tokenizer.data.video_header import Limits, probe
from tokenizer.data.video_writer import to_mp4


def test_jobs_cross_the_pipe() -> None:
    body = to_mp4(np.zeros((3, 16, 16, 3), np.uint8), 25)
    facts = {"id": 1, "model": "film", "cost": 768, "held": 256, "submitted_at": 1.5}
    video = {"body": body, "header": probe(body), "limits": Limits(frames=9)}
    z = np.zeros((1, 4, 2, 2, 2), np.float32)
    for job in (
        EncodeClipJob(**facts, **video, format="npy"),  # type: ignore[arg-type]  # by name
        ReconstructClipJob(**facts, **video, quality=40),  # type: ignore[arg-type]
        DecodeClipJob(**facts, parts={"z": z}, size=(5, 8, 8), rate=Fraction(25), output="mp4"),  # type: ignore[arg-type]
    ):
        again = pickle.loads(pickle.dumps(job))
        assert type(again) is type(job)
        assert again.cost == 768
        assert (weight(job), room(job)) == (768, 256)


def test_more_quality_is_a_lower_factor() -> None:
    assert [crf(quality) for quality in (0, 50, 100)] == sorted(
        [crf(quality) for quality in (0, 50, 100)], reverse=True
    )
    assert crf(None) == 18
