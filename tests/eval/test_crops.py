"""Every crop rule against the library that published numbers used, and how far they lie apart."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from eval.crops import cropped
from eval.protocols import Crop
from tokenizer.data.transforms import adm_crop

PIL_RULES: dict[Crop, InterpolationMode] = {
    "pil_bilinear": InterpolationMode.BILINEAR,
    "pil_bicubic": InterpolationMode.BICUBIC,
    "pil_lanczos": InterpolationMode.LANCZOS,
}
SIZES = [(151, 97), (97, 151), (64, 64), (64, 90), (333, 64)]


def picture(width: int, height: int) -> Image.Image:
    """Fine detail, so that filters differ."""
    generator = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", list(PIL_RULES))
def test_pil_rules_are_torchvisions(rule: Crop, size: tuple[int, int]) -> None:
    image = picture(*size)
    theirs = transforms.Compose([transforms.Resize(64, PIL_RULES[rule]), transforms.CenterCrop(64)])(image)
    assert torch.equal(cropped(image, rule, 64), torch.from_numpy(np.array(theirs)).permute(2, 0, 1))


@pytest.mark.parametrize("size", SIZES)
def test_tensor_rule_is_torchvisions(size: tuple[int, int]) -> None:
    steps = [
        transforms.ToTensor(),
        transforms.Resize(64, antialias=True),
        transforms.CenterCrop(64),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    theirs = transforms.Compose(steps)(picture(*size))
    mine = cropped(picture(*size), "tensor_bilinear", 64)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    assert mine.dtype == torch.float32


def test_adm_rule_is_the_tokenizers_own() -> None:
    image = picture(151, 131)
    expected = torch.from_numpy(np.array(adm_crop(image, 64))).permute(2, 0, 1)
    assert torch.equal(cropped(image, "adm", 64), expected)


def test_cv2_rule_samples_two_neighbours_without_smoothing() -> None:
    """From its definition: half-pixel centres, weights of the two nearest columns, then rows."""
    image = picture(150, 100)
    mine = cropped(image, "cv2_bilinear", 50)
    pixels = np.asarray(image).astype(np.float64)
    # a factor of 2: output i lies between inputs 2i and 2i + 1
    expected = pixels.reshape(50, 2, 75, 2, 3).mean(axis=(1, 3))[:, 12:62]
    assert np.abs(mine.permute(1, 2, 0).numpy() - expected).max() <= 0.5
    quarter = cropped(picture(200, 200), "cv2_bilinear", 50).permute(1, 2, 0).numpy()
    four = np.asarray(picture(200, 200)).astype(np.float64).reshape(50, 4, 50, 4, 3)[:, 1:3, :, 1:3]
    assert np.abs(quarter - four.mean(axis=(1, 3))).max() <= 0.5  # a quarter of the pixels are not even read


def test_covering_rule_is_vtbenchs() -> None:
    """Both sides are rounded after the larger of the two scales, where torchvision truncates the long one."""
    for width, height in SIZES:
        image = picture(width, height)
        scale = max(64 / width, 64 / height)
        sized = image.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
        left, top = (sized.width - 64) // 2, (sized.height - 64) // 2
        expected = torch.from_numpy(np.array(sized.crop((left, top, left + 64, top + 64)))).permute(2, 0, 1)
        assert torch.equal(cropped(image, "cover_lanczos", 64), expected)
    assert not torch.equal(
        cropped(picture(151, 97), "cover_lanczos", 64), cropped(picture(151, 97), "pil_lanczos", 64)
    )


def test_the_filter_is_part_of_the_number() -> None:
    """Smooth pictures too: each rule gives another target, which its PSNR is measured against."""
    coarse = picture(12, 9).resize((200, 150), Image.Resampling.BICUBIC)
    adm = cropped(coarse, "adm", 64).double()
    for rule in ("pil_bilinear", "pil_lanczos", "cv2_bilinear"):
        error = (cropped(coarse, rule, 64).double() - adm).square().mean()
        assert 20.0 < 10 * torch.log10(255.0**2 / error) < 60.0


def test_grey_and_paletted_pictures_become_rgb() -> None:
    for mode in ("L", "P"):
        assert cropped(picture(80, 70).convert(mode), "pil_bilinear", 64).shape == (3, 64, 64)
