"""LPIPS equals the package over the same backbone file, and says so when the file is missing."""

import warnings
from pathlib import Path

import lpips
import pytest
import torch
from safetensors.torch import save_file

from eval.errors import NotComputedError
from eval.metrics.lpips import LPIPS, Net, load_lpips, load_network
from eval.pixels import from_uint8
from eval.protocols import canon_v1
from eval.weights import WeightsConfig

PROTOCOL = canon_v1(64, "fail")
CPU = torch.device("cpu")
FIELD: dict[Net, str] = {"vgg": "vgg16", "alex": "alexnet"}


def pictures(seed: int, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 64, 64), generator=generator, dtype=torch.uint8)


def reference(net: Net) -> torch.nn.Module:
    """The package as it comes, its backbone random."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # how the package asks torchvision for a network
        network: torch.nn.Module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    return network.eval()


def backbone(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The same tensors under torchvision's names, as the published files carry them."""
    return {
        "features." + name.split(".", 2)[2]: value.clone().contiguous()
        for name, value in network.state_dict().items()
        if name.startswith("net.")
    }


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_equals_the_package_with_the_same_weights(net: Net, tmp_path: Path) -> None:
    expected = reference(net)
    path = tmp_path / f"{net}.pth"
    torch.save(backbone(expected), path)
    metric = load_lpips(PROTOCOL, WeightsConfig.parse({FIELD[net]: path}), CPU, net=net)
    real, fake = pictures(0), pictures(1)
    metric.update(real, fake)
    with torch.inference_mode():
        values = expected(from_uint8(real), from_uint8(fake)).flatten()
    assert metric.compute().per_image == pytest.approx(values.tolist(), rel=1e-6)
    assert values.min() > 0
    assert [record.verified for record in metric.weights] == [False, True]  # random backbone, published heads


def test_pictures_reach_the_network_in_minus_one_to_one() -> None:
    """Fed [0, 1] without `normalize`, the package silently gives another number."""

    class Range(torch.nn.Module):
        def forward(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
            return torch.stack([real.amin(), fake.amax()]).view(2, 1, 1, 1)

    metric = LPIPS(PROTOCOL, Range(), (), CPU)
    black, white = torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.full((2, 3, 64, 64), 255).byte()
    metric.update(black, white)
    assert metric.compute().per_image == (-1.0, 1.0)


def test_the_range_matters() -> None:
    network = reference("alex")
    real, fake = from_uint8(pictures(2)), from_uint8(pictures(3))
    with torch.inference_mode():
        right, wrong = network(real, fake), network((real + 1) / 2, (fake + 1) / 2)
    assert not torch.allclose(right, wrong, rtol=0.01)


def test_equal_pictures_have_no_distance(tmp_path: Path) -> None:
    path = tmp_path / "alex.safetensors"
    save_file(backbone(reference("alex")), path)
    metric = load_lpips(PROTOCOL, WeightsConfig(alexnet=path), CPU, net="alex")
    metric.update(pictures(4), pictures(4))
    assert metric.compute().value == 0.0


@pytest.mark.parametrize(
    ("net", "file"), [("vgg", "vgg16-397923af.pth"), ("alex", "alexnet-owt-7be5be79.pth")]
)
def test_missing_backbone_is_named_with_its_place(net: Net, file: str, tmp_path: Path) -> None:
    for config in (WeightsConfig(), WeightsConfig(folder=tmp_path)):
        with pytest.raises(NotComputedError) as caught:
            load_network(net, config)
        assert file in caught.value.what
        assert f"weights.{FIELD[net]}=" in caught.value.put


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="does not hold alex.s backbone"):
        load_network("alex", WeightsConfig(alexnet=path))
