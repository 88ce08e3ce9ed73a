"""Face similarity over stand-ins for the networks: same points in both pictures, three sizes, merged parts."""

import pytest
import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.faces import Faces
from eval.metrics.faces import FaceSimilarity, size_group
from eval.protocols import canon_v1

PROTOCOL = canon_v1(256, "fail")


class Detector:
    """As many faces as the first grey level says, of 30, 60 and 100 pixels."""

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def __call__(self, picture: Tensor) -> Faces:
        self.shown.append(picture)
        sides = torch.tensor([30.0, 60.0, 100.0])[: int(picture[0, 0, 0])]
        boxes = torch.stack([0 * sides, 0 * sides, sides, sides / 2], dim=1)
        return Faces(boxes, sides.view(-1, 1, 1).repeat(1, 5, 2))


class Recognizer:
    """An embedding at the angle that the last grey level says, in degrees times the number of the face."""

    def __call__(self, picture: Tensor, points: Tensor) -> Tensor:
        angle = torch.deg2rad(picture[0, -1, -1].double() * torch.arange(1, len(points) + 1))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def pictures(faces: list[int], degrees: int) -> Tensor:
    made = torch.zeros(len(faces), 3, 256, 256, dtype=torch.uint8)
    made[:, 0, 0, 0] = torch.tensor(faces, dtype=torch.uint8)
    made[:, 0, -1, -1] = degrees
    return made


def metric() -> FaceSimilarity:
    return FaceSimilarity(PROTOCOL, Detector(), Recognizer(), ())  # type: ignore[arg-type]  # stand-ins


def test_mean_over_faces_and_over_sizes() -> None:
    made = metric()
    made.update(pictures([1, 3, 0], 0), pictures([9, 9, 9], 60))
    score = made.compute()
    cosines = [0.5, -0.5, -1.0]  # 60, 120 and 180 degrees
    assert score.value == pytest.approx((cosines[0] + sum(cosines)) / 4)
    assert (score.details["faces"], score.num_images) == (4, 3)
    assert score.details["small_faces"] == 2
    assert score.details["small_similarity"] == pytest.approx(0.5)
    assert score.details["mean_of_sizes"] == pytest.approx(sum(cosines) / 3)
    assert score.ci95[0] <= score.value <= score.ci95[1]
    assert all(shown[0, -1, -1] == 0 for shown in made.detector.shown)  # type: ignore[attr-defined]  # the originals


def test_equal_pictures_are_one_and_no_face_is_told() -> None:
    made = metric()
    made.update(pictures([2, 1], 10), pictures([2, 1], 10))
    assert made.compute().value == pytest.approx(1.0)
    empty = metric()
    empty.update(pictures([0], 0), pictures([0], 0))
    with pytest.raises(NotComputedError, match="faces in the original pictures"):
        empty.compute()


def test_numbered_parts_merge_into_the_whole() -> None:
    real, fake = pictures([1, 3, 0, 2], 0), pictures([1, 3, 0, 2], 40)
    whole, first, second = metric(), metric(), metric()
    whole.update(real, fake)
    second.update(real[2:], fake[2:], [2, 3])
    first.update(real[:2], fake[:2], [0, 1])
    second.merge(first)
    assert second.compute() == whole.compute()


def test_sizes_are_tokbenchs() -> None:
    assert [size_group(share, 256) for share in (0.05, 0.1, 0.25, 0.9)] == [None, 0, 1, 2]
    assert [size_group(share, 512) for share in (0.04, 0.06, 0.15, 0.3)] == [None, 0, 1, 2]
    assert [size_group(share, 1024) for share in (0.01, 0.03, 0.06, 0.2)] == [None, 0, 1, 2]
