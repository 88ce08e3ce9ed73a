"""What a run sees, by position: pictures, or clips of some frames, from whatever ``data.path`` names."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import torch
from torch.utils.data import Dataset

from tokenizer.data.aspects import bucket_size, nearest_size, parse_aspect
from tokenizer.data.clip_cache import ClipCache
from tokenizer.data.images import Images, Sample, TrainingOrder
from tokenizer.data.kind import VIDEOS
from tokenizer.data.moving import MovingOrder, MovingPictures
from tokenizer.data.settings import DataConfig
from tokenizer.data.source import kind_of
from tokenizer.data.turns import Mixture
from tokenizer.data.video_index import IndexedVideo, VideoIndex
from tokenizer.data.videos import ClipOrder, Clips, Pace


class SizedData(Protocol):
    """Samples that are counted."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Stills(Dataset[Sample]):
    """Pictures as clips of one frame."""

    def __init__(self, pictures: SizedData) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        sample = self.pictures[index]
        return Sample({**sample, "data": torch.unsqueeze(sample["data"], 0)})


class FirstFrames(Dataset[Sample]):
    """The first frames of clips as pictures."""

    def __init__(self, clips: SizedData) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        sample = self.clips[index]
        return Sample({**sample, "data": sample["data"][0]})


Kinds = list[
    tuple[Dataset[Sample], float]
]  # sequences by position, and the share that each has of the batches


def open_training(
    data: DataConfig,
    resolution: int,
    frames: int | None,
    seed: int,
    *,
    batch: int = 1,
    begin: int = 0,
    multiple: int = 1,
) -> Dataset[Sample]:
    """Samples by training position: pictures (R, R, 3), or with ``frames`` clips (T, H, W, 3), of one shape a batch.

    Args:
        data: what to train on.
        resolution: side of square crops, R.
        frames: of a clip; None for pictures.
        seed: names orders, crops, paths and turns.
        batch: positions of a step, over all processes.
        begin: the position at which the phase begins.
        multiple: what the sides of clips must be multiples of.

    Raises:
        ValueError: if there is nothing to train on.
    """
    if frames is None:
        return _pictures(data, resolution, seed)
    if frames == 1 and not data.lengths and data.videos is None:
        return _stills(data, resolution, seed)
    kinds: Kinds = []
    if data.still_share > 0:
        kinds.append((_stills(data, resolution, seed), data.still_share))
    if data.still_share < 1:
        sizes = [bucket_size(parse_aspect(aspect), resolution, multiple) for aspect in data.aspects]
        lengths = list(dict.fromkeys((frames, *data.lengths)))
        path = data.videos or data.path
        footage = data.videos is not None or kind_of(path) is VIDEOS
        videos = VideoIndex(path).videos if footage else None
        for length in lengths:
            clips = (
                _moving(data, sizes, length, seed)
                if videos is None
                else _clips(data, videos, sizes, length, seed)
            )
            total = sum(share for _, share in clips) * len(lengths) / (1 - data.still_share)
            kinds += [(clip, share / total) for clip, share in clips]
    if len(kinds) == 1:
        return kinds[0][0]
    return Mixture([kind for kind, _ in kinds], [share for _, share in kinds], seed, batch=batch, begin=begin)


def open_evaluation(path: Path, resolution: int, frames: int | None) -> SizedData:
    """The evaluation crops of all pictures (R, R, 3), or with ``frames`` clips (T, R, R, 3), in their order.

    Videos give the clips that they hold one after another, pictures one moving clip each.
    """
    if kind_of(path) is VIDEOS:
        clips = Clips(VideoIndex(path).videos, resolution, frames or 1)
        return FirstFrames(clips) if frames is None else clips
    images = Images(path, resolution)
    if frames is None:
        return images
    return Stills(images) if frames == 1 else MovingPictures(images, frames)


def _pictures(data: DataConfig, resolution: int, seed: int) -> Dataset[Sample]:
    if kind_of(data.path) is VIDEOS:
        return FirstFrames(_single_frames(data, resolution, seed))
    return TrainingOrder(Images(data.path, resolution), seed, data.max_scale, data.flip)


def _stills(data: DataConfig, resolution: int, seed: int) -> Dataset[Sample]:
    if kind_of(data.path) is VIDEOS:
        return _single_frames(data, resolution, seed)
    return Stills(TrainingOrder(Images(data.path, resolution), seed, data.max_scale, data.flip))


def _single_frames(data: DataConfig, resolution: int, seed: int) -> ClipOrder:
    return _order(data, VideoIndex(data.path).videos, (resolution, resolution), 1, seed)


def _moving(data: DataConfig, sizes: Sequence[tuple[int, int]], frames: int, seed: int) -> Kinds:
    """Pictures fit every aspect, so each has the same share."""
    images = Images(data.path, min(sizes[0]))
    return [
        (MovingOrder(images, size, frames, seed, motion=data.motion, flip=data.flip), 1.0) for size in sizes
    ]


def _clips(
    data: DataConfig, videos: Sequence[IndexedVideo], sizes: Sequence[tuple[int, int]], frames: int, seed: int
) -> Kinds:
    """Every video among those of its aspect; shares are the numbers of clips."""
    kinds: Kinds = []
    for place, size in enumerate(sizes):
        alike = [video for video in videos if nearest_size(video.header.size, sizes) == place]
        if alike:
            order = _order(data, alike, size, frames, seed)
            kinds.append((order, float(len(order))))
    return kinds


def _order(
    data: DataConfig, videos: Sequence[IndexedVideo], size: tuple[int, int], frames: int, seed: int
) -> ClipOrder:
    rate = None if data.frame_rate is None else Fraction(data.frame_rate).limit_denominator(1001)
    return ClipOrder(
        videos,
        size,
        frames,
        seed,
        pace=Pace(rate, data.stride),
        cache=ClipCache(data.cache, data.decode_threads),
        max_scale=data.max_scale,
        flip=data.flip,
    )
