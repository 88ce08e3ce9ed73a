"""A report of video made by hand."""

import torch

from eval import machine
from eval.protocols.video import video_protocol
from eval.report import NotComputed, TokenizerRecord
from eval.video.memory import MemoryPoint
from eval.video.report import ClipComputed, FloorRecord, VideoDataRecord, VideoProtocolRecord, VideoReport


def make() -> VideoReport:
    """Two metrics, a floor and two points of memory."""
    psnr = ClipComputed(value=float("inf"), ci95=(30.0, float("inf")), num_clips=2, higher_is_better=True)
    return VideoReport(
        protocol=VideoProtocolRecord.of(video_protocol("streaming")),
        data=VideoDataRecord(
            path="v",
            num_found=3,
            num_files=2,
            num_clips=2,
            num_frames=40,
            skipped=("c.mp4: no",),
            content="ab",
        ),
        tokenizer=TokenizerRecord(
            source="demo", spec_id="", spec={}, num_parameters=10, dtype="float32", tiles="64 pixels"
        ),
        metrics={
            "psnr": psnr,
            "rfvd_videogpt": NotComputed(not_computed="a <file>", put="somewhere"),
        },
        floor=FloorRecord(code="4x4 cells", metrics={"psnr": psnr.model_copy(update={"value": 21.5})}),
        bits_per_pixel=0.5,
        compression_ratio=48.0,
        frames_per_s=3.0,
        memory=(MemoryPoint(frames=33, peak_mib=10.0), MemoryPoint(frames=257, peak_mib=10.5)),
        machine=machine.describe(torch.device("cpu")),
        commit=None,
    )
