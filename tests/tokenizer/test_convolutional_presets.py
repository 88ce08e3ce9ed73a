"""The tiny presets of the convolutional families: each learns, is saved, and comes back the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tokenizer
from tokenizer.core import seeding
from tokenizer.core.config import find_preset
from tokenizer.data.transforms import to_pixels
from tokenizer.loading import load, load_folder
from tokenizer.losses.objective import Objective
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent
from tokenizer.train import train
from tokenizer.training import TrainConfig

CONFIGS = Path(tokenizer.__file__).parent / "configs"
PRESETS = ["tiny_kl", "tiny_litevae", "tiny_maskbit", "tiny_movq", "tiny_taesd", "tiny_vqgan"]


def shortened(name: str, pictures: Path, out: Path) -> TrainConfig:
    """The preset, with 12 steps of 4 pictures of 32 pixels a side instead of its own."""
    few = ["images=48", "batch=4", "resolution=32"]
    often = ["log_every=0", "show_every=0", "save_every=48", "statistics_images=16", "ema_half_life=4"]
    phase = [f"phases.0.{item}" for item in few]
    optim = ["optim.warmup_images=0", "optim.schedule=constant"]  # as fast from the first step to the last
    data = [f"data.path={pictures}", "data.num_workers=0", f"out={out}", "precision=fp32"]
    return TrainConfig.load(find_preset(name, CONFIGS), [*data, *phase, *often, *optim])


def held(pictures: Path) -> Tensor:
    """Eight of the pictures, (8, 3, 32, 32) in [-1, 1]."""
    import numpy
    from PIL import Image

    found = []
    for file in sorted(pictures.rglob("*.png"))[:48:6]:
        with Image.open(file) as image:
            found.append(torch.from_numpy(numpy.array(image.resize((32, 32)))))
    return to_pixels(torch.stack(found))


@torch.no_grad()
def loss_of(model: Autoencoder, config: TrainConfig, x: Tensor) -> float:
    """What training lowers, without the bottleneck's own part, whose scale moves with the features."""
    objective = Objective.build(tuple(loss for loss in config.phases[0].losses if loss.kind != "bottleneck"))
    step = model.eval()(x)
    return float(objective(step, x).total)


@pytest.mark.parametrize("name", PRESETS)
def test_a_few_steps_lower_the_loss_and_the_folder_comes_back(
    name: str, photographs: Path, tmp_path: Path
) -> None:
    config = shortened(name, photographs, tmp_path / "run")
    assert config.model is not None
    torch.manual_seed(seeding.key(config.seed, "init"))
    fresh = config.model.build()
    x = held(photographs)
    before = loss_of(fresh, config, x)
    folder = train(config)
    trained = load_folder(folder, averaged=False)
    assert loss_of(trained, config, x) < 0.98 * before

    one, two = load(folder), load(tmp_path / "run")
    assert one.spec_id == two.spec_id
    assert one.spec.has_statistics
    odd = x[:1, :, :29, :23]
    latent = one.encode(odd)
    x_hat = one.decode(latent)
    assert x_hat.shape == odd.shape
    assert torch.equal(two.decode(two.encode(odd)), x_hat)
    if one.spec.z.codebook_size is not None:
        alone = Latent({}, latent.size, latent.spec_id, latent.indices)
        assert (one.decode(alone) - x_hat).abs().max() <= 1e-5 * (x_hat.max() - x_hat.min())
        assert latent.indices["z"].shape[1:] == one.spec.z.index_shape((29, 23))


@pytest.mark.parametrize(
    ("name", "bits"),
    [("tiny_vqgan", 9), ("tiny_movq", 18), ("tiny_maskbit", 12), ("llamagen_vq16", 14), ("movq_f16", 40)],
)
def test_rates_are_those_of_the_codes(name: str, bits: int) -> None:
    model: Any = TrainConfig.load(find_preset(name, CONFIGS), ["data.path=a", "out=b"]).model
    with torch.device("meta"):
        spec = model.build().spec
    side = 3 * spec.z.spatial_factor
    assert spec.bits((side, side)) == 9 * bits
