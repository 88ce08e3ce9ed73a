"""Clips of videos as data sets: every one a function of (seed, epoch, clip), whoever reads it and when.

A video is cut into as many clips as it holds one after another, and an epoch sees each once, beginning somewhere in its
own part. Videos shorter than a clip run back from their end. A video that turns out to be damaged is named in the log
and replaced by the next clip that can be read, the same each time.

Letters: T frames of a clip, H W pixels; sizes are (H, W).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from tokenizer.core import seeding
from tokenizer.data.clip_cache import ClipCache
from tokenizer.data.cropping import cover_size, cut_window
from tokenizer.data.images import Epochs, Sample, make_sample
from tokenizer.data.transforms import adm_crop
from tokenizer.data.video_file import Pixels, read_clip
from tokenizer.data.video_header import VideoHeader, VideoRefused
from tokenizer.data.video_index import IndexedVideo

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Which frames of a video follow one another in a clip.

    Attributes:
        frame_rate: frames per second of clips; None: the video's own.
        stride: one frame of so many.
    """

    frame_rate: Fraction | None = None
    stride: int = 1

    def step(self, header: VideoHeader) -> Fraction:
        """Seconds from one frame of a clip to the next."""
        return self.stride / (self.frame_rate or header.rate)

    def num_clips(self, header: VideoHeader, frames: int) -> int:
        """Clips that a video holds one after another; at least one."""
        return max(1, math.floor(header.frames / header.rate / (self.step(header) * frames)))

    def times(self, header: VideoHeader, frames: int, place: float) -> list[Fraction]:
        """When the frames of a clip are, in seconds, ``place`` 0 being the first clip that there is and 1 the last."""
        step = self.step(header)
        last = Fraction(header.frames - 1) / header.rate
        room = max(Fraction(0), last - step * (frames - 1))
        first = math.floor(Fraction(place) * room * header.rate) / header.rate  # at a frame
        return [_reflected(first + step * number, last) for number in range(frames)]


class Clips(Dataset[Sample]):
    """The clips of videos one after another, each as its evaluation crop: centred, (T, R, R, 3).

    Args:
        videos: of an index.
        resolution: side of the square crop in pixels.
        frames: of a clip.
        pace: of its frames.
        cache: of decoded frames.
    """

    def __init__(
        self,
        videos: Sequence[IndexedVideo],
        resolution: int,
        frames: int,
        *,
        pace: Pace | None = None,
        cache: ClipCache | None = None,
    ) -> None:
        self.resolution = resolution
        self.parts = Parts(videos, frames, pace or Pace())
        self.cache = cache or ClipCache()

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Sample:
        video, times = self.parts.clip(index, 0.5)
        with video.file.open() as file:
            clip = read_clip(file, times, video.header, threads=self.cache.threads, change=self._crop)
        return make_sample(torch.from_numpy(clip), video.label, index, index)

    def _crop(self, frame: Pixels) -> Pixels:
        return np.asarray(adm_crop(Image.fromarray(frame), self.resolution), np.uint8)


class Parts:
    """Clips of videos by number: a video, and the part of it that the clip lies in.

    Attributes:
        videos, frames, pace: as given.
    """

    def __init__(self, videos: Sequence[IndexedVideo], frames: int, pace: Pace) -> None:
        self.videos, self.frames, self.pace = videos, frames, pace
        self._counts = np.array([pace.num_clips(video.header, frames) for video in videos], np.int64)
        self._stops = np.cumsum(self._counts)

    def __len__(self) -> int:
        return int(self._stops[-1])

    def clip(self, index: int, place: float) -> tuple[IndexedVideo, list[Fraction]]:
        """The video of a clip and the times of its frames; ``place`` in [0, 1) says where in its part it begins."""
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        number = int(np.searchsorted(self._stops, index, side="right"))
        count = int(self._counts[number])
        part = index - int(self._stops[number]) + count
        video = self.videos[number]
        return video, self.pace.times(video.header, self.frames, (part + place) / count)


class ClipOrder(Dataset[Sample]):
    """Clips as an endless sequence: item p is what training position p sees, (T, H, W, 3).

    Args:
        videos: of an index.
        size: of the crop.
        frames: of a clip.
        seed: names the order and the augmentations.
        pace: of the frames.
        cache: of decoded frames.
        max_scale: frames are scaled to cover at most this many crops.
        flip: mirror half of the clips.
    """

    def __init__(
        self,
        videos: Sequence[IndexedVideo],
        size: tuple[int, int],
        frames: int,
        seed: int,
        *,
        pace: Pace | None = None,
        cache: ClipCache | None = None,
        max_scale: float = 1.25,
        flip: bool = True,
    ) -> None:
        self.parts = Parts(videos, frames, pace or Pace())
        self.epochs = Epochs(len(self.parts), seed)
        self.size = size
        self.cache = cache or ClipCache()
        self.max_scale, self.flip = max_scale, flip

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, position: int) -> Sample:
        index, key = self.epochs.at(position)
        chosen, video, pixels = self._read_or_next(index, seeding.generator(key, "start"))
        scale, across, down, mirror = torch.rand(4, generator=seeding.generator(key, "crop")).tolist()
        # Frames cover the crop max_scale times; a window of that size gives a crop that they just cover.
        windows = [
            cut_window(
                Image.fromarray(frame),
                self.size,
                scale=self.max_scale / (1 + (self.max_scale - 1) * scale),
                across=across,
                down=down,
                mirrored=self.flip and mirror < 0.5,
            )
            for frame in pixels
        ]
        clip = torch.from_numpy(np.stack([np.asarray(window, np.uint8) for window in windows]))
        return make_sample(clip, video.label, chosen, key)

    def _read_or_next(self, index: int, generator: torch.Generator) -> tuple[int, IndexedVideo, Pixels]:
        """A clip's frames, or those of the first behind it that can be read.

        Raises:
            ValueError: if none can.
        """
        start = float(torch.rand((), generator=generator))
        broken: set[str] = set()
        for step in range(len(self)):
            chosen = (index + step) % len(self)
            video, times = self.parts.clip(chosen, start)
            if str(video.file) in broken:
                continue
            try:
                return chosen, video, self.cache.clip(video, times, cover_size(self.size, self.max_scale))
            except (VideoRefused, OSError) as error:
                broken.add(str(video.file))
                logger.warning("clip replaced by the next one: %s cannot be read: %s", video.file, error)
        raise ValueError("none of the videos can be read")


def _reflected(time: Fraction, last: Fraction) -> Fraction:
    """A time in [0, last]: forwards, back from the end, forwards again."""
    if last <= 0:
        return Fraction(0)
    time %= 2 * last
    return min(time, 2 * last - time)
