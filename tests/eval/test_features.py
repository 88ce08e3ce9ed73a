"""The FID network against pytorch-fid on the same random file, and TensorFlow's resize."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_fid import inception as pytorch_fid
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from eval.errors import NotComputedError
from eval.features import InceptionFeatures, full_float32, tf1_resize
from eval.pixels import clean_resize, from_uint8
from eval.weights import WeightsConfig

CPU = torch.device("cpu")


def pictures(seed: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, side, side), generator=generator, dtype=torch.uint8)


def test_network_equals_pytorch_fid(inception_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = torch.load(inception_file, weights_only=True)
    monkeypatch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: tensors)
    theirs = pytorch_fid.InceptionV3(resize_input=False, normalize_input=False).eval()
    ours = InceptionFeatures.load(WeightsConfig(inception=inception_file), CPU)
    x = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        expected = theirs(x)[0].flatten(1)
        features = ours.network(x)
    assert expected.std() > 0.01  # features that say something
    assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()
    theirs = pytorch_fid.InceptionV3().eval()  # with its own resize
    resized = InceptionFeatures.load(WeightsConfig(inception=inception_file), CPU, "pytorch_bilinear_299")
    small = pictures(2, 48)
    with torch.inference_mode():
        expected = theirs(small.float() / 255)[0].flatten(1)
    assert (resized(small) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (resized(from_uint8(small)) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (
        ours(small) - expected
    ).abs().max() > 1e-3 * expected.abs().max()  # the resize is part of the number


def test_everything_equals_torch_fidelity(inception_file: Path) -> None:
    """Pooled features and logits without bias, from bytes on, with TensorFlow's resize."""
    theirs = FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased", "logits"], feature_extractor_weights_path=str(inception_file)
    )
    small = pictures(3, 40)
    pool, unbiased, biased = theirs(small)
    ours = InceptionFeatures.load(WeightsConfig(inception=inception_file), CPU).outputs(small)
    for made, expected in ((ours.pool, pool), (ours.logits, unbiased)):
        assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (ours.logits - biased).abs().max() > 1e-3 * biased.abs().max()


def test_spatial_features_are_seven_channels_of_the_third_block(inception_file: Path) -> None:
    """TensorFlow's mixed_6 is the block that torch ports call Mixed_6d: mixed, mixed_1 .. count every block."""
    ours = InceptionFeatures.load(WeightsConfig(inception=inception_file), CPU)
    seen: list[torch.Tensor] = []
    blocks = [name for name, _ in ours.network.named_children() if name.startswith("Mixed_")]
    assert blocks.index("Mixed_6d") == 6
    hook = ours.network.Mixed_6d.register_forward_hook(lambda *call: seen.append(call[2]))
    made = ours.outputs(pictures(4, 32))
    hook.remove()
    assert made.spatial.shape == (1, 17 * 17 * 7)
    expected = seen[0][:, :7].permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(made.spatial, expected, rtol=1e-5, atol=1e-6)
    assert made.spatial.std() > 0.01


def test_metrics_share_the_network_and_its_last_two_batches(
    inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = WeightsConfig(inception=inception_file)
    shared = InceptionFeatures.load(config, CPU)
    assert InceptionFeatures.load(WeightsConfig(folder=inception_file.parent), CPU) is shared
    assert InceptionFeatures.load(config, CPU, "pytorch_bilinear_299") is not shared
    calls: list[int] = []
    forward = shared.network.outputs
    monkeypatch.setattr(shared.network, "outputs", lambda x: calls.append(1) or forward(x))
    real, fake = pictures(5, 32), pictures(6, 32)
    for _ in range(3):
        shared.outputs(real)
        shared.outputs(fake)
    assert len(calls) == 2
    assert torch.equal(shared(real), shared(real))
    shared.outputs(pictures(5, 32))  # the same bytes in another tensor are read again
    assert len(calls) == 3


def test_features_of_pictures_are_resized_scaled_and_float32(inception_file: Path) -> None:
    ours = InceptionFeatures.load(WeightsConfig(folder=inception_file.parent), CPU)
    small = pictures(7, 64)
    with torch.inference_mode():
        expected = ours.network((tf1_resize(small.float(), 299) - 128) / 128)
    torch.testing.assert_close(ours(small), expected, rtol=1e-5, atol=1e-5)
    assert ours(small).dtype == torch.float32
    assert not ours.record.verified  # random numbers under the published name do not pass for it
    with pytest.raises(ValueError, match="uint8"):
        ours(small.float())


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


def test_clean_fids_resize_reaches_the_network(inception_file: Path) -> None:
    clean = InceptionFeatures.load(WeightsConfig(inception=inception_file), CPU, "clean_bicubic_299")
    small = pictures(8, 64)
    with torch.inference_mode():
        expected = clean.network((clean_resize(small, 299) - 128) / 128)
    torch.testing.assert_close(clean(small), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="uint8"):
        clean(small.float())


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
