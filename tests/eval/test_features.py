"""The FID network against pytorch-fid on the same random file, and TensorFlow's resize."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_fid import inception as pytorch_fid

from eval.errors import NotComputedError
from eval.features import NUM_FEATURES, FIDInception, InceptionFeatures, full_float32, tf1_resize
from eval.weights import WeightsConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published one's layout, random numbers inside, classifier included."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in FIDInception().state_dict().items()}
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("conv.weight"):
            scale = (2.0 / shape[1:].numel()) ** 0.5
            tensors[name] = torch.randn(shape, generator=generator) * scale
        elif name.endswith(("running_var", "bn.weight")):
            tensors[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            tensors[name] = 0.1 * torch.randn(shape, generator=generator)
    tensors["fc.weight"], tensors["fc.bias"] = torch.zeros(1008, NUM_FEATURES), torch.zeros(1008)
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(tensors, path)
    return path


def test_network_equals_pytorch_fid(weights_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = torch.load(weights_file, weights_only=True)
    monkeypatch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: tensors)
    theirs = pytorch_fid.InceptionV3(resize_input=False, normalize_input=False).eval()
    ours = InceptionFeatures.load(WeightsConfig(inception=weights_file), CPU)
    x = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        expected = theirs(x)[0].flatten(1)
        features = ours.network(x)
    assert expected.std() > 0.01  # features that say something
    assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_features_of_pictures_are_resized_scaled_and_float32(weights_file: Path) -> None:
    ours = InceptionFeatures.load(WeightsConfig(folder=weights_file.parent), CPU)
    pictures = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = ours.network((tf1_resize(pictures.float(), 299) - 128) / 128)
    torch.testing.assert_close(ours(pictures), expected, rtol=1e-5, atol=1e-5)
    assert ours(pictures).dtype == torch.float32
    assert not ours.record.verified  # random numbers under the published name do not pass for it
    with pytest.raises(ValueError, match="uint8"):
        ours(pictures.float())


def test_resize_is_tensorflows() -> None:
    """Straight from its definition: sample at i * in / out, clamp the neighbour, blend columns then rows."""
    rows, columns, side = 7, 5, 11
    x = torch.rand(1, 2, rows, columns, generator=torch.Generator().manual_seed(2))
    expected = np.zeros((2, side, side))
    for i in range(side):
        for j in range(side):
            y, z = np.float32(i) * np.float32(rows / side), np.float32(j) * np.float32(columns / side)
            top, left = int(y), int(z)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            pixel = x[0].numpy()
            upper = pixel[:, top, left] + (pixel[:, top, right] - pixel[:, top, left]) * (z - left)
            lower = pixel[:, bottom, left] + (pixel[:, bottom, right] - pixel[:, bottom, left]) * (z - left)
            expected[:, i, j] = upper + (lower - upper) * (y - top)
    np.testing.assert_allclose(tf1_resize(x, side)[0].numpy(), expected, atol=1e-6)


def test_resize_is_neither_the_half_pixel_nor_the_antialiased_one() -> None:
    x = torch.rand(1, 3, 600, 600, generator=torch.Generator().manual_seed(3))
    ours = tf1_resize(x, 299)
    for antialias in (False, True):
        theirs = torch.nn.functional.interpolate(x, size=(299, 299), mode="bilinear", antialias=antialias)
        assert (ours - theirs).abs().mean() > 0.02
    assert torch.equal(tf1_resize(x, 600), x)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        NotComputedError, match="pt_inception-2015-12-05-6726825d.pth.*weights.inception=FILE"
    ):
        InceptionFeatures.load(WeightsConfig(folder=tmp_path), CPU)


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inception_v3_google-0cc3c7bd.pth"
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match="does not hold the FID Inception"):
        InceptionFeatures.load(WeightsConfig(inception=path), CPU)


def test_tf32_settings_come_back() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with full_float32():
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
