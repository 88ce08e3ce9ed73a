"""Pictures as moving clips: a camera that pans, zooms and turns over one, for training where there is no footage.

The camera's path is smooth: its centre runs along a parabola, its zoom at a constant factor and its angle at a constant
rate a frame. It never leaves the picture. One generator gives one clip.

Letters: T frames, H W pixels; sizes are (H, W); a window is what the camera sees, in pixels of the scaled picture.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from tokenizer.core import seeding
from tokenizer.core.config import Config
from tokenizer.data.cropping import resize_cover
from tokenizer.data.images import Epochs, Images, Sample, make_sample
from tokenizer.data.picture import read_image
from tokenizer.data.source import read_or_next
from tokenizer.data.transforms import BICUBIC

MAX_TURN = math.radians(30)  # over a clip
MAX_ZOOM = math.log(1.5)
BEND = 0.25  # of a path's length, sideways at most


class MotionConfig(Config):
    """How fast the camera moves over a picture at most; each clip draws its own speeds, down to standing still."""

    pan: float = Field(default=0.02, ge=0, description="of the longer side, a frame")
    zoom: float = Field(default=0.01, ge=0, description="growth a frame, either way")
    turn: float = Field(default=0.5, ge=0, description="degrees a frame, either way")


class MovingPictures(Dataset[Sample]):
    """Every picture as one clip, always the same, (T, R, R, 3): what evaluation shows where there is no footage."""

    def __init__(self, images: Images, frames: int, motion: MotionConfig | None = None) -> None:
        self.images, self.frames, self.motion = images, frames, motion or MotionConfig()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.images.source[index])
        size = (self.images.resolution, self.images.resolution)
        generator = seeding.generator(index, "camera")
        clip = moving_clip(image, size, self.frames, generator=generator, motion=self.motion, flip=False)
        return make_sample(clip, self.images.source.label(index), index, index)


class MovingOrder(Dataset[Sample]):
    """Pictures as clips in an endless sequence: item p is what training position p sees, (T, H, W, 3).

    A picture that cannot be read is replaced as ``TrainingOrder`` does it.

    Args:
        images: the pictures.
        size: of the clips.
        frames: of a clip.
        seed: names the order and the paths.
        motion: of the camera.
        flip: mirror half of the clips.
    """

    def __init__(
        self,
        images: Images,
        size: tuple[int, int],
        frames: int,
        seed: int,
        *,
        motion: MotionConfig | None = None,
        flip: bool = True,
    ) -> None:
        self.images, self.size, self.frames = images, size, frames
        self.epochs = Epochs(len(images), seed)
        self.motion, self.flip = motion or MotionConfig(), flip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> Sample:
        index, key = self.epochs.at(position)
        chosen, image = read_or_next(self.images.source, index)
        generator = seeding.generator(key, "camera")
        clip = moving_clip(
            image, self.size, self.frames, generator=generator, motion=self.motion, flip=self.flip
        )
        return make_sample(clip, self.images.source.label(chosen), chosen, key)


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera is at every frame.

    Attributes:
        cover: size that the picture is brought to cover.
        centres: (T, 2) float64, down and across, in pixels of the scaled picture.
        scales: (T,) pixels of it to one of the clip.
        angles: (T,) radians.
    """

    cover: tuple[int, int]
    centres: NDArray[np.float64]
    scales: NDArray[np.float64]
    angles: NDArray[np.float64]


def moving_clip(
    image: Image.Image,
    size: tuple[int, int],
    frames: int,
    *,
    generator: torch.Generator,
    motion: MotionConfig,
    flip: bool = True,
) -> Tensor:
    """A clip over a picture, uint8 (T, H, W, 3); mirrored half of the time if ``flip``."""
    camera, scaled = _camera(image, size, frames, generator, motion)
    mirrored = bool(flip and torch.rand((), generator=generator) < 0.5)
    clip = np.stack([_look(scaled, size, camera, frame) for frame in range(frames)])
    return torch.from_numpy(np.ascontiguousarray(clip[:, :, ::-1]) if mirrored else clip)


def _camera(
    image: Image.Image, size: tuple[int, int], frames: int, generator: torch.Generator, motion: MotionConfig
) -> tuple[Camera, Image.Image]:
    """A path that stays inside the picture, and the picture scaled for it."""
    view, speed, course, zoom, turn, down, across, bend = torch.rand(
        8, generator=generator, dtype=torch.float64
    ).tolist()
    steps = max(0, frames - 1)
    sides = np.array(size, np.float64)
    turned = _most((2 * turn - 1) * math.radians(motion.turn) * steps, MAX_TURN)
    zoomed = _most((2 * zoom - 1) * math.log1p(motion.zoom) * steps, MAX_ZOOM)
    # The upright box around a window that is turned, as large as it ever gets.
    box = math.exp(abs(zoomed) / 2) * (sides + math.sin(abs(turned) / 2) * sides[::-1])
    room = box / (0.5 + 0.5 * view)
    scaled = resize_cover(image, (math.ceil(room[0]), math.ceil(room[1])))
    low = box / 2
    high = np.maximum(low, np.array([scaled.height, scaled.width]) - box / 2)
    length = speed * motion.pan * float(sides.max()) * steps
    way = length * np.array([math.sin(2 * math.pi * course), math.cos(2 * math.pi * course)])
    way = np.clip(way, low - high, high - low)
    first = low - np.minimum(way, 0) + np.array([down, across]) * (high - low - np.abs(way))
    sideways = BEND * (2 * bend - 1) * way[::-1] * np.array([1.0, -1.0])
    middle = np.clip(first + way / 2 + sideways, low, high)
    at = np.linspace(0, 1, frames) if frames > 1 else np.array([0.5])
    u = at[:, None]
    centres = (1 - u) ** 2 * first + 2 * u * (1 - u) * middle + u**2 * (first + way)
    scales = np.exp(zoomed * (at - 0.5))
    return Camera((scaled.height, scaled.width), centres, scales, turned * (at - 0.5)), scaled


def _most(value: float, limit: float) -> float:
    return min(limit, max(-limit, value))


def _look(image: Image.Image, size: tuple[int, int], camera: Camera, frame: int) -> NDArray[np.uint8]:
    """What the camera sees, uint8 (H, W, 3)."""
    height, width = size
    down, across = camera.centres[frame]
    along = camera.scales[frame] * math.cos(camera.angles[frame])
    over = camera.scales[frame] * math.sin(camera.angles[frame])
    left = across - along * width / 2 + over * height / 2
    top = down - over * width / 2 - along * height / 2
    seen = image.transform(
        (width, height), Image.Transform.AFFINE, (along, -over, left, over, along, top), BICUBIC
    )
    return np.asarray(seen, np.uint8)
