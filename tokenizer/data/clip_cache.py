"""Decoded videos on disk: every frame at the size that training cuts from, so that a clip is read and not decoded.

For sets that are seen many times and fit on a disk: three bytes a pixel. A file holds the same bytes as decoding gives,
so with and without the cache a run sees the same.
"""

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from tokenizer.data.cropping import resize_cover
from tokenizer.data.video_file import Pixels, read_clip, read_frames
from tokenizer.data.video_index import IndexedVideo


class ClipCache:
    """Frames of videos by time.

    Args:
        folder: where they are kept, made if need be; None keeps nothing and decodes every time.
        threads: that decode.
    """

    def __init__(self, folder: Path | None = None, threads: int = 1) -> None:
        self.folder = folder
        self.threads = threads

    def clip(self, video: IndexedVideo, times: Sequence[Fraction], size: tuple[int, int]) -> Pixels:
        """The frames nearest to the ``times``, each scaled to cover ``size``, uint8 (n, H, W, 3).

        Raises:
            VideoRefused: if it cannot be decoded.
            OSError: if it cannot be read, or the folder not written.
        """
        if self.folder is None:
            with video.file.open() as file:
                return read_clip(
                    file,
                    times,
                    video.header,
                    threads=self.threads,
                    change=lambda frame: covering(frame, size),
                )
        text = f"{video.file}\0{video.file.num_bytes}\0{video.file.mtime_ns}\0{size}"
        name = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
        pixels_file, facts_file = self.folder / f"{name}.rgb", self.folder / f"{name}.json"
        if not facts_file.is_file():
            self._fill(video, size, pixels_file, facts_file)
        facts = json.loads(facts_file.read_text())
        moments = [Fraction(time) for time in facts["times"]]
        frames = np.memmap(pixels_file, np.uint8, "r", shape=(len(moments), *facts["size"], 3))
        return np.stack([frames[nearest(moments, time)] for time in times])

    def _fill(self, video: IndexedVideo, size: tuple[int, int], pixels_file: Path, facts_file: Path) -> None:
        """Decode once, a frame at a time; several processes may do the same, and write the same."""
        pixels_file.parent.mkdir(parents=True, exist_ok=True)
        pixels_part, facts_part = (
            file.with_name(f"{file.name}.{os.getpid()}.tmp") for file in (pixels_file, facts_file)
        )
        moments: list[str] = []
        shape: list[int] = []
        try:
            with video.file.open() as file, pixels_part.open("wb") as out:
                for time, frame in read_frames(file, video.header, threads=self.threads):
                    small = covering(frame, size)
                    shape = [small.shape[0], small.shape[1]]
                    moments.append(str(time))
                    out.write(small.tobytes())
            facts_part.write_text(json.dumps({"size": shape, "times": moments}))
            os.replace(pixels_part, pixels_file)
            os.replace(facts_part, facts_file)
        finally:
            for part in (pixels_part, facts_part):
                part.unlink(missing_ok=True)


def covering(frame: Pixels, size: tuple[int, int]) -> Pixels:
    """A frame (H, W, 3) scaled until it just covers ``size``."""
    return np.asarray(resize_cover(Image.fromarray(frame), size), np.uint8)


def nearest(moments: Sequence[Fraction], time: Fraction) -> int:
    """The place of the nearest of rising ``moments``; the earlier of two as near."""
    after = bisect_left(moments, time)
    if after in (0, len(moments)):
        return min(after, len(moments) - 1)
    return after - 1 if time - moments[after - 1] <= moments[after] - time else after
