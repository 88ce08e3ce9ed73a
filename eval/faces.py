"""Finding faces and comparing whose they are: InsightFace's antelopev2 networks in ONNX, from local files.

Sources: Guo et al. 2021, Sample and Computation Redistribution for Efficient Face Detection, arXiv 2105.04714 (SCRFD:
    at each position of strides 8, 16 and 32 two anchors, each a score, four distances to the sides and five points);
    Deng et al. 2019, ArcFace, arXiv 1801.07698 (faces aligned to 112 x 112 by five points); Umeyama 1991,
    Least-Squares Estimation of Transformation Parameters Between Two Point Patterns, IEEE TPAMI 13(4).

Letters: F faces, H W rows and columns.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from eval.errors import NotComputedError
from eval.weights import WeightsConfig, WeightsName, WeightsRecord, find, record
from tokenizer.data.transforms import as_bytes

SIDE = 640
STRIDES = (8, 16, 32)
ANCHORS = 2
SCORE, OVERLAP = 0.5, 0.4
ALIGNED = 112
# where ArcFace wants the eyes, the tip of the nose and the corners of the mouth, in pixels of the aligned face
TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=torch.float64,
)


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces in a picture, the surest first.

    Attributes:
        boxes: (F, 4), left, top, right, bottom in pixels.
        points: (F, 5, 2), x and y of eyes, nose and corners of the mouth.
    """

    boxes: Tensor
    points: Tensor


class FaceDetector:
    """SCRFD with points."""

    def __init__(self, session: Any) -> None:  # onnxruntime publishes no types
        self.session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, picture: Tensor) -> Faces:
        """The faces in a uint8 picture (3, H, W), which is scaled into the corner of a square of 640."""
        height, width = picture.shape[-2:]
        scale = SIDE / max(height, width)
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
        pixels = as_bytes(image.resize(size, Image.Resampling.BILINEAR)).permute(2, 0, 1).float()
        canvas = torch.zeros(1, 3, SIDE, SIDE)
        canvas[0, :, : size[1], : size[0]] = pixels
        made = self.session.run(None, {self._input: ((canvas - 127.5) / 128.0).numpy()})
        tables = [torch.from_numpy(table) for table in made]
        return _decoded(tables, scale)


def _decoded(tables: list[Tensor], scale: float) -> Faces:
    """Scores of every stride, then distances, then points -> what overlaps least, in pixels of the picture."""
    scores, boxes, points = [], [], []
    for level, stride in enumerate(STRIDES):
        score, distance, offset = (
            tables[level + len(STRIDES) * kind].reshape(-1, width) for kind, width in enumerate((1, 4, 10))
        )
        steps = torch.arange(SIDE // stride) * float(stride)
        centres = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        centres = centres.reshape(-1, 2).repeat_interleave(ANCHORS, dim=0)
        kept = (score[:, 0] >= SCORE).nonzero().flatten()
        centre, sides = centres[kept], distance[kept] * stride
        scores.append(score[kept, 0])
        boxes.append(torch.cat([centre - sides[:, :2], centre + sides[:, 2:]], dim=1))
        points.append(centre.unsqueeze(1) + offset[kept].reshape(-1, 5, 2) * stride)
    all_boxes, all_points = torch.cat(boxes) / scale, torch.cat(points) / scale
    chosen = nms(all_boxes, torch.cat(scores), OVERLAP)
    return Faces(all_boxes[chosen], all_points[chosen])


class FaceRecognizer:
    """ArcFace: a face by its points -> an embedding of length 1."""

    def __init__(self, session: Any) -> None:  # onnxruntime publishes no types
        self.session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, picture: Tensor, points: Tensor) -> Tensor:
        """A uint8 picture (3, H, W) and points (F, 5, 2) -> (F, E)."""
        made = []
        for face in points:
            crop = aligned(picture, face)
            (row,) = self.session.run(None, {self._input: ((crop - 127.5) / 127.5).unsqueeze(0).numpy()})
            made.append(torch.from_numpy(row).reshape(-1))
        return F.normalize(torch.stack(made).double(), dim=1)


def aligned(picture: Tensor, points: Tensor) -> Tensor:
    """The face with these points (5, 2) in a uint8 picture (3, H, W) -> (3, 112, 112) float of [0, 255], bilinear.

    Outside of the picture is black.
    """
    matrix = similarity(points.double(), TEMPLATE)
    steps = torch.arange(ALIGNED, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)  # (112, 112, 2), x and y
    places = (grid - matrix[:, 2]) @ torch.linalg.inv(matrix[:, :2]).T  # where each pixel comes from
    height, width = picture.shape[-2:]
    scale = torch.tensor([width - 1, height - 1], dtype=torch.float64).clamp(min=1.0)
    normal = (places / scale * 2.0 - 1.0).float().unsqueeze(0)
    made = F.grid_sample(picture.float().unsqueeze(0), normal, mode="bilinear", align_corners=True)
    return made[0]


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Rotation, scale and shift (2, 3) that bring points (P, 2) nearest to others (P, 2), float64."""
    mean_s, mean_t = source.mean(dim=0), target.mean(dim=0)
    s, t = source - mean_s, target - mean_t
    u, singular, v = torch.linalg.svd(t.T @ s / len(s))
    sign = torch.ones(2, dtype=source.dtype)
    if torch.linalg.det(u) * torch.linalg.det(v) < 0:
        sign[1] = -1.0
    rotation = u @ torch.diag(sign) @ v
    scale = (singular * sign).sum() / s.square().sum(dim=1).mean()
    linear = scale * rotation
    return torch.cat([linear, (mean_t - linear @ mean_s).unsqueeze(1)], dim=1)


def load_faces(config: WeightsConfig) -> tuple[FaceDetector, FaceRecognizer, tuple[WeightsRecord, ...]]:
    """Both networks, and the files they were read from.

    Raises:
        NotComputedError: naming the file or the package that is missing.
        ValueError: if a file is not such a network.
    """
    names: list[WeightsName] = ["face_detector", "face_recognizer"]
    paths = [find(name, config) for name in names]
    if importlib.util.find_spec("onnxruntime") is None:
        raise NotComputedError(
            "the package onnxruntime", "into this environment: pip install 'tessera[fidelity]'"
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = []
    for path, outputs in zip(paths, (3 * len(STRIDES), 1), strict=True):
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, by no common name
            raise ValueError(f"{path} is no ONNX network: {error}") from None
        if len(session.get_outputs()) != outputs:
            raise ValueError(f"{path}: {len(session.get_outputs())} outputs, where {outputs} belong")
        sessions.append(session)
    records = tuple(record(name, path) for name, path in zip(names, paths, strict=True))
    return FaceDetector(sessions[0]), FaceRecognizer(sessions[1]), records
