"""LPIPS trains: its gradient reaches the autoencoder. And it never downloads or invents weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import alexnet

from tokenizer.losses.perceptual import LPIPSConfig, build_lpips
from tokenizer.model import StepOutput


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet with random weights, saved as torchvision publishes it."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(alexnet(weights=None).state_dict(), file)
    return file


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained':UserWarning")  # the lpips package's own call
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
class TestLPIPS:
    def test_gradient_reaches_the_reconstruction(
        self, trunk: Path, step_of: Callable[[Tensor], StepOutput]
    ) -> None:
        loss = LPIPSConfig(net="alex", backbone=trunk).build()
        x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        x_hat = (0.9 * x).requires_grad_()
        value = loss(step_of(x_hat), x)
        value.backward()
        assert float(value.detach()) > 0
        assert x_hat.grad is not None
        assert float(x_hat.grad.abs().max()) > 0
        assert not any(parameter.requires_grad for parameter in loss.parameters())
        assert float(loss(step_of(x), x)) == pytest.approx(0, abs=1e-7)

    def test_the_files_are_what_runs(self, trunk: Path) -> None:
        """The trunk's weights are the file's, layer by layer, and the linear ones lpips' own."""
        network = build_lpips("alex", trunk, None)
        state = torch.load(trunk, weights_only=True)
        assert torch.equal(network.net.slice1[0].weight, state["features.0.weight"])
        assert torch.equal(network.net.slice5[0].weight, state["features.10.weight"])
        assert (
            float(network.lin0.model[1].weight.min()) >= 0
        )  # trained weights are not negative, random ones are


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained':UserWarning")  # the lpips package's own call
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning")
def test_half_precision_is_close_and_its_distance_float32(
    trunk: Path, step_of: Callable[[Tensor], StepOutput]
) -> None:
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    values, gradients = [], []
    for precision in ("fp32", "bf16"):
        loss = LPIPSConfig(net="alex", backbone=trunk, precision=precision).build()
        x_hat = x.flip(2).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):  # what surrounds it does not matter
            value = loss(step_of(x_hat), x)
        value.backward()
        assert x_hat.grad is not None
        assert value.dtype == x_hat.grad.dtype == torch.float32
        values.append(float(value.detach()))
        gradients.append(x_hat.grad.flatten())
    assert values[0] != values[1]
    assert values[1] == pytest.approx(values[0], rel=0.05)
    assert float(torch.nn.functional.cosine_similarity(*gradients, dim=0)) > 0.98


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="alexnet-owt.*no trunk is given"):
        LPIPSConfig(net="alex").build()
    with pytest.raises(ValueError, match="nowhere.pth is missing"):
        LPIPSConfig(net="vgg", backbone=tmp_path / "nowhere.pth").build()
