"""Networks by name, and files that hold their weights and no others."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tokenizer.layers.networks import build_network, build_timm, fill


def test_libraries_say_where_weights_come_from_and_how_pixels_are_normalised() -> None:
    with torch.device("meta"):
        network, stated = build_network("torchvision", "alexnet")
        vit, of_vit = build_timm("test_vit", dynamic_img_size=True)
    assert isinstance(network, nn.Module)
    assert stated["origin"].endswith("alexnet-owt-7be5be79.pth")
    assert len(stated["mean"]) == len(of_vit["std"]) == 3
    assert "huggingface.co" in of_vit["origin"]
    assert isinstance(vit, nn.Module)


def test_unknown_names_bring_the_nearest() -> None:
    with pytest.raises(ValueError, match="timm has no network 'test_vitt'; near it are: test_vit"):
        build_network("timm", "test_vitt")
    with pytest.raises(ValueError, match="torchvision has no network 'alexne'; near it are: alexnet"):
        build_network("torchvision", "alexne")


def test_a_file_fills_its_network_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    one, two = timm.create_model("test_vit"), timm.create_model("test_vit")
    save_file(one.state_dict(), file)
    fill(two, file, "timm's test_vit")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    with pytest.raises(ValueError, match="does not hold the weights of a line; .* differ"):
        fill(nn.Linear(2, 2), file, "a line")
