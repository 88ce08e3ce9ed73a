"""The metrics by name, what is missing and what is not verified."""

from pathlib import Path

import pytest
import torch

from eval.protocols.video import video_protocol
from eval.report import NotComputed
from eval.video.i3d import VideoWeights
from eval.video.panel import CLIP_METRICS, ClipPanel
from eval.video.report import ClipComputed
from eval.weights import WeightsRecord
from tests.eval.video.clipping import disturbed, frames

CPU = torch.device("cpu")
NOTHING = VideoWeights()


def test_each_metric_sees_its_form() -> None:
    panel = ClipPanel(("psnr", "ssim", "flicker"), video_protocol("vidtok", 16), NOTHING, CPU)
    real = frames(3)
    panel.update(real, disturbed(real, torch.full((3,), 9.0)).float() / 127.5 - 1, 0)
    entries, scores = panel.compute()
    assert list(entries) == ["psnr", "ssim", "flicker"]
    assert all(isinstance(entry, ClipComputed) for entry in entries.values())
    assert 20 < scores["psnr"].value < 40


def test_what_is_missing_says_so(tmp_path: Path) -> None:
    names = tuple(CLIP_METRICS)
    panel = ClipPanel(names, video_protocol("streaming"), VideoWeights(folder=tmp_path), CPU)
    assert panel.missing.keys() == {"lpips_vgg", "lpips_alex", "rfvd_styleganv", "rfvd_videogpt"}
    panel.update(frames(1), frames(1), 0)
    entries, _ = panel.compute()
    assert list(entries) == list(names)
    flicker = entries["flicker"]
    assert isinstance(flicker, NotComputed)
    assert "at least 2 frames" in flicker.not_computed
    with pytest.raises(ValueError, match="no metric 'rfid' of video"):
        ClipPanel(("rfid",), video_protocol("streaming"), NOTHING, CPU)


@pytest.mark.parametrize(("name", "told"), [("i3d_videogpt", "no hash"), ("vgg16", "in place of the file")])
def test_another_network_never_passes_for_the_one_that_is_meant(name: str, told: str) -> None:
    panel = ClipPanel(("psnr",), video_protocol("streaming"), NOTHING, CPU)
    panel.metrics["psnr"].weights = (WeightsRecord(name, "file.pt", "0" * 64, False),)  # type: ignore[misc]
    panel.update(frames(2), frames(2, seed=1), 0)
    entries, _ = panel.compute()
    assert entries.keys() == {"psnr", "psnr_unverified"}
    missing = entries["psnr"]
    assert isinstance(missing, NotComputed)
    assert told in missing.put
