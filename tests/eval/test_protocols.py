"""Protocols are frozen data with a hash that follows every setting."""

import pytest
from pydantic import ValidationError

from eval.protocols import EvaluationProtocol, canon_v1, protocol


def test_hash_is_stable_and_follows_what_decides_the_number() -> None:
    made = canon_v1(128, "fail")
    assert made.hash == canon_v1(128, "fail").hash == EvaluationProtocol.parse(made.model_dump()).hash
    others = [
        canon_v1(256, "fail"),
        canon_v1(128, "skip"),
        made.model_copy(update={"ssim": made.ssim.model_copy(update={"data_range": 2.0})}),
        made.model_copy(update={"interval": made.interval.model_copy(update={"seed": 1})}),
    ]
    assert len({made.hash, *(other.hash for other in others)}) == 5


def test_canon_v1_at_128_is_pinned() -> None:
    """Whoever changes the default must name a new protocol: published numbers hang on this one."""
    assert canon_v1(128, "fail").hash == "98d9283283ba"


def test_preprocess_hash_ignores_the_metrics_settings() -> None:
    made = canon_v1(128, "fail")
    other = made.model_copy(update={"ssim": made.ssim.model_copy(update={"sigma": 2.0})})
    assert made.preprocess_hash == other.preprocess_hash
    assert made.preprocess_hash != canon_v1(64, "fail").preprocess_hash


def test_it_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        canon_v1(128, "fail").psnr.data_range = 1.0


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match="canon-v1"):
        protocol("canon", 128)
    with pytest.raises(ValueError, match="at least 16"):
        protocol("canon-v1", 8)


def test_lines_show_every_setting() -> None:
    lines = dict(canon_v1(128, "fail").lines())
    assert lines["ssim.sigma"] == "1.5"
    assert lines["crop"] == "adm"
    assert lines["reconstruction"] == "psnr, ssim, lpips_vgg, lpips_alex, rfid"
