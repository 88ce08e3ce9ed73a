"""Protocols are frozen data with a hash that follows every setting."""

import pytest
from pydantic import ValidationError

from eval.protocols import SSIM_IMPLEMENTATIONS, EvaluationProtocol, canon_v1, protocol
from eval.protocols.settings import FIDSettings, KIDSettings


def test_hash_is_stable_and_follows_what_decides_the_number() -> None:
    made = canon_v1(128, "fail")
    assert made.hash == canon_v1(128, "fail").hash == EvaluationProtocol.parse(made.model_dump()).hash
    others = [
        canon_v1(256, "fail"),
        canon_v1(128, "skip"),
        made.model_copy(update={"ssim": made.ssim.model_copy(update={"data_range": 2.0})}),
        made.model_copy(update={"interval": made.interval.model_copy(update={"seed": 1})}),
        made.model_copy(update={"kid": KIDSettings(subset_size=50)}),
        made.model_copy(update={"fid": FIDSettings(domain="float")}),
    ]
    assert len({made.hash, *(other.hash for other in others)}) == 7


def test_canon_v1_at_128_is_pinned() -> None:
    """Whoever changes the default must name a new protocol: published numbers hang on this one."""
    assert canon_v1(128, "fail").hash == "98d9283283ba"


def test_a_report_from_before_later_settings_has_the_same_hash() -> None:
    """``settings`` of an old report lack what came later; read again, they are the same protocol."""
    made = canon_v1(128, "fail")
    old = made.model_dump(mode="json")
    later = ("kid", "inception_score", "precision_recall", "fd_infinity", "ms_ssim", "unavailable")
    for name in (*later, "fd_dinov2", "cmmd", "text", "interpolation"):
        del old[name]
    del old["psnr"]["domain"], old["ssim"]["low"], old["ssim"]["weights"], old["fid"]["gfid_reference"]
    del old["psnr"]["range_from"], old["ssim"]["range_of_batches"], old["lpips"]["fed"]
    assert EvaluationProtocol.parse(old).hash == made.hash


def test_preprocess_hash_ignores_the_metrics_settings() -> None:
    made = canon_v1(128, "fail")
    other = made.model_copy(update={"ssim": made.ssim.model_copy(update={"sigma": 2.0})})
    assert made.preprocess_hash == other.preprocess_hash
    assert made.preprocess_hash != canon_v1(64, "fail").preprocess_hash


def test_protocols_share_a_pass_where_pictures_and_posterior_agree() -> None:
    made = protocol("canon-v1", 256)
    assert all(made.shares_pass(protocol(name, 256)) for name in ("dc-ae", "llamagen", "rae"))
    assert not made.shares_pass(protocol("canon-v1", 128))
    assert not made.shares_pass(protocol("open-magvit2", 256))
    sampled = made.model_copy(update={"posterior": "sample"})
    assert not made.shares_pass(sampled)


def test_it_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        canon_v1(128, "fail").psnr.data_range = 1.0


def test_lines_show_every_setting() -> None:
    lines = dict(canon_v1(128, "fail").lines())
    assert lines["ssim.sigma"] == "1.5"
    assert lines["crop"] == "adm"
    assert lines["reconstruction"] == "psnr, ssim, lpips_vgg, lpips_alex, rfid"
    assert lines["kid.subset_size"] == "1000"


def test_implementations_of_ssim_are_three_different_things() -> None:
    assert len({settings.to_json() for settings in SSIM_IMPLEMENTATIONS.values()}) == 3
    assert all(
        settings.data_range == settings.high - settings.low for settings in SSIM_IMPLEMENTATIONS.values()
    )
