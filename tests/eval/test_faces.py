"""Faces: the detector's layout decoded, and alignment against scikit-image's similarity transform."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from skimage.transform import SimilarityTransform, warp
from torch import Tensor

from eval.errors import NotComputedError
from eval.faces import TEMPLATE, aligned, load_faces, similarity
from eval.weights import WeightsConfig

FACE = torch.tensor([[30.0, 40.0], [62.0, 38.0], [47.0, 55.0], [34.0, 72.0], [60.0, 71.0]])


def write_detector(path: Path, cells: list[tuple[int, int, int, float]]) -> None:
    """A network that finds faces at cells (stride, row, column, score), 64 to each side, whatever it is shown."""
    outputs, nodes = [], []
    tables: list[dict[int, np.ndarray]] = [{}, {}, {}]
    for stride in (8, 16, 32):
        count = (640 // stride) ** 2 * 2
        for kind, width in enumerate((1, 4, 10)):
            tables[kind][stride] = np.zeros((count, width), np.float32)
    for stride, row, column, score in cells:
        place = (row * (640 // stride) + column) * 2
        tables[0][stride][place] = score
        tables[1][stride][place] = 64.0 / stride
        tables[2][stride][place] = np.tile([1.0, -2.0], 5)
    for kind in range(3):
        for stride in (8, 16, 32):
            name = f"out_{kind}_{stride}"
            table = numpy_helper.from_array(tables[kind][stride])
            nodes.append(helper.make_node("Constant", [], [name], value=table))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, tables[kind][stride].shape))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 640, 640))
    save(path, helper.make_graph(nodes, "detector", [picture], outputs))


def write_recognizer(path: Path) -> None:
    """A network whose embedding is the face's 4 x 4 area means."""
    nodes = [
        helper.make_node("AveragePool", ["input"], ["means"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["means"], ["out"]),
    ]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 112, 112))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 48))
    save(path, helper.make_graph(nodes, "recognizer", [picture], [out]))


def save(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def picture(height: int = 96, width: int = 128) -> Tensor:
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (x[0] * 255).round().byte()


def test_alignment_is_that_of_scikit_image() -> None:
    """Fitted from the picture to the template and inverted, as InsightFace does; the other way is another fit."""
    theirs = SimilarityTransform.from_estimate(FACE.double().numpy(), TEMPLATE.numpy())
    made = similarity(FACE.double(), TEMPLATE)
    np.testing.assert_allclose(made.numpy(), theirs.params[:2], atol=1e-9)
    image = picture()
    expected = warp(
        image.permute(1, 2, 0).numpy().astype(np.float64),
        theirs.inverse,
        output_shape=(112, 112),
        order=1,
        preserve_range=True,
    )
    crop = aligned(image, FACE)
    assert crop.shape == (3, 112, 112)
    assert np.abs(crop.permute(1, 2, 0).numpy() - expected).max() < 0.05
    back = similarity(TEMPLATE, FACE.double())
    inverse = np.linalg.inv(theirs.params)[:2]
    assert np.abs(back.numpy() - inverse).max() > 1e-3


def test_points_on_the_template_are_not_moved() -> None:
    made = similarity(TEMPLATE, TEMPLATE)
    np.testing.assert_allclose(made.numpy(), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    mirrored = TEMPLATE * torch.tensor([-1.0, 1.0])
    assert torch.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0  # a rotation never becomes a mirror


def test_faces_are_decoded_and_overlapping_ones_dropped(tmp_path: Path) -> None:
    files = {"face_detector": tmp_path / "scrfd.onnx", "face_recognizer": tmp_path / "glintr.onnx"}
    # two cells side by side see one face, the third is elsewhere, the fourth too unsure
    write_detector(
        files["face_detector"], [(16, 10, 10, 0.9), (16, 10, 11, 0.8), (32, 15, 4, 0.7), (8, 60, 60, 0.3)]
    )
    write_recognizer(files["face_recognizer"])
    detector, recognizer, records = load_faces(WeightsConfig.parse(files))
    assert [record.verified for record in records] == [False, False]
    found = detector(picture(height=480, width=640))
    assert found.boxes.tolist() == [[96.0, 96.0, 224.0, 224.0], [64.0, 416.0, 192.0, 544.0]]
    assert found.points[0].tolist() == [[176.0, 128.0]] * 5  # centre (160, 160) plus (1, -2) strides of 16
    half = detector(picture(height=240, width=320))  # shown at twice its size
    torch.testing.assert_close(half.boxes, found.boxes / 2)
    image = picture()
    embedded = recognizer(image, FACE.unsqueeze(0))
    expected = torch.nn.functional.avg_pool2d((aligned(image, FACE) - 127.5) / 127.5, 28).flatten().double()
    torch.testing.assert_close(embedded[0], expected / expected.norm(), rtol=1e-4, atol=1e-5)


def test_what_is_missing_or_no_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        NotComputedError, match="scrfd_10g_bnkps.onnx.*import DIR.*weights.face_detector=FILE"
    ):
        load_faces(WeightsConfig(folder=tmp_path))
    files = {"face_detector": tmp_path / "a.onnx", "face_recognizer": tmp_path / "b.onnx"}
    for path in files.values():
        path.write_bytes(b"no network")
    with pytest.raises(ValueError, match="is no ONNX network"):
        load_faces(WeightsConfig.parse(files))
    write_recognizer(files["face_detector"])
    with pytest.raises(ValueError, match="1 outputs, where 9 belong"):
        load_faces(WeightsConfig.parse(files))
