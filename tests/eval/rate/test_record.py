"""A record is plain data that comes back from JSON as it was."""

import json

from eval.rate.record import CodecPoint, Match, RateRecord


def test_json_and_back() -> None:
    best = CodecPoint(quality=7, bits_per_pixel=0.5, psnr=30.0, ssim=0.9)
    matches = (
        Match(setting="step 1", bits_per_pixel=0.6, codec="jpeg", best=best, gain=1.0),
        Match(setting="step 1", bits_per_pixel=0.6, codec="avif", best=None, gain=None),
    )
    record = RateRecord(coder="c", num_fitted=2, num_images=2, matches=matches, codecs={"jpeg": (best,)})
    assert RateRecord.parse(json.loads(record.to_json())) == record


def test_nothing_measured_is_a_record_too() -> None:
    assert RateRecord(missing={"rate": "no package"}).points == ()
