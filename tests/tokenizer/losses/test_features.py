"""Deep features: the file's network is what runs, frozen, its gradient reaches the encoder, wrong files are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import alexnet

from tokenizer.config import TokenizerConfig
from tokenizer.layers.networks import IMAGENET_MEAN, IMAGENET_STD
from tokenizer.losses.features import (
    DeepFeatures,
    FeatureLoss,
    FeaturesConfig,
    distance_between,
)
from tokenizer.model import StepOutput

Step = Callable[[Tensor], StepOutput]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """AlexNet as torchvision publishes it and two small networks as timm does, with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), folder / "alexnet.pth")
    for name in ("test_convnext", "test_vit"):
        save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    return {file.stem: file for file in folder.iterdir()}


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def build(**tree: Any) -> FeatureLoss:
    return FeaturesConfig.parse(tree).build()


def test_gradient_reaches_the_encoder_and_not_the_network(
    files: dict[str, Path], x: Tensor, tiny_config: TokenizerConfig
) -> None:
    torch.manual_seed(0)
    model = tiny_config.build()
    loss = build(network="alexnet", weights=files["alexnet"], layers=[1, 4])
    value = loss(model(x), x)
    value.backward()
    assert value.dtype == torch.float32
    assert float(value.detach()) > 0
    gradients = [parameter.grad for parameter in model.encoder.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert max(float(gradient.abs().max()) for gradient in gradients if gradient is not None) > 0
    assert all(not p.requires_grad and p.grad is None for p in loss.parameters())


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
@pytest.mark.parametrize(
    "tree",
    [
        {"network": "alexnet", "layers": [0, "classifier.1"]},
        {"library": "timm", "network": "test_convnext", "layers": [0, -1]},
        {"library": "timm", "network": "test_vit", "layers": ["blocks.1"], "resize": 160},
    ],
    ids=lambda tree: tree["network"],
)
def test_identity_is_zero_and_anything_else_is_not(
    files: dict[str, Path], x: Tensor, step_of: Step, tree: dict[str, Any], distance: str
) -> None:
    loss = build(**tree, weights=files[tree["network"]], distance=distance)
    assert float(loss(step_of(x), x)) == pytest.approx(0, abs=1e-6)
    x_hat = x.flip(2).requires_grad_()
    value = loss(step_of(x_hat), x)
    value.backward()
    assert float(value.detach()) > 1e-4
    assert x_hat.grad is not None
    assert float(x_hat.grad.abs().max()) > 0


def test_dfc_vae_in_closed_form(files: dict[str, Path], x: Tensor, step_of: Step) -> None:
    """Squared errors of a convolution and of two ReLUs behind it: what is in place must not leak backwards."""
    loss = build(network="alexnet", weights=files["alexnet"], layers=[0, 1, 4])
    network = alexnet(weights=None).eval().requires_grad_(False)
    network.load_state_dict(torch.load(files["alexnet"], weights_only=True))

    def features(picture: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        h = network.features[0]((picture / 2 + 0.5 - mean) / std)
        first = F.relu(h)
        return [h, first, F.relu(network.features[3](network.features[2](first)))]

    x_hat = 0.5 * x
    want = sum(F.mse_loss(a, b) for a, b in zip(features(x_hat), features(x), strict=True))
    assert float(features(x)[0].min()) < 0  # the convolution's own output, not what the ReLU left of it
    assert torch.allclose(loss(step_of(x_hat), x), want, rtol=1e-5)


def test_titoks_logits(files: dict[str, Path], x: Tensor, step_of: Step) -> None:
    """No layers: the squared error of the network's output on pictures resized to a square."""
    loss = build(
        library="timm",
        network="test_convnext",
        weights=files["test_convnext"],
        resize=96,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    network = timm.create_model("test_convnext").eval()
    network.load_state_dict(loss.features.network.state_dict())
    mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))

    def logits(picture: Tensor) -> Tensor:
        picture = F.interpolate(picture / 2 + 0.5, size=96, mode="bilinear", antialias=True)
        out: Tensor = network((picture - mean) / std)
        return out

    x_hat = x.flip(3)
    assert torch.allclose(loss(step_of(x_hat), x), F.mse_loss(logits(x_hat), logits(x)), rtol=1e-4)


def test_cosine_is_over_channels() -> None:
    a, b = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    a[:, 0], b[:, 1] = 5.0, 0.1  # orthogonal at every position, at any length
    assert float(distance_between(a, b, "cosine")) == pytest.approx(1.0)
    assert float(distance_between(a, 7 * a, "cosine")) == pytest.approx(0.0, abs=1e-6)
    tokens = torch.eye(3).expand(2, 3, 3)
    assert float(distance_between(tokens, -tokens, "cosine")) == pytest.approx(2.0)


def test_normalisation_is_the_librarys_where_it_states_one(files: dict[str, Path]) -> None:
    vision = build(library="timm", network="test_convnext", weights=files["test_convnext"])
    assert vision.features.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert build(
        network="alexnet", weights=files["alexnet"]
    ).features.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)


def test_eval_mode_for_good_and_float32_under_autocast(
    files: dict[str, Path], x: Tensor, step_of: Step
) -> None:
    """AlexNet drops features at random in training mode; a loss must not."""
    loss = build(network="alexnet", weights=files["alexnet"])
    exact = loss(step_of(0.5 * x), x)
    loss.train()
    assert not any(module.training for module in loss.features.modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = loss(step_of((0.5 * x).bfloat16().float()), x)
    assert again.dtype == torch.float32
    assert torch.allclose(again, loss(step_of((0.5 * x).bfloat16().float()), x), rtol=1e-6)
    assert torch.allclose(exact, loss(step_of(0.5 * x), x), rtol=1e-6)


def test_layers_behind_the_last_one_do_not_run(x: Tensor) -> None:
    ran: list[int] = []
    network = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(4)))
    for index, layer in enumerate(network):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    features = DeepFeatures(network, ["1", "2"], (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), None, "fp32")
    assert len(features(x)) == 2
    assert ran == [0, 1, 2]
    assert all(len(layer._forward_hooks) == 1 for layer in network)  # ours are gone


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"network": "alexnet"}, "download nothing.*alexnet-owt-7be5be79.pth.*losses.weights=FILE"),
        ({"library": "timm", "network": "test_vit"}, "model.safetensors of huggingface.co/timm/test_vit"),
        ({"network": "alexnet", "weights": "nowhere.pth"}, "nowhere.pth is missing"),
        ({"network": "alexne"}, "torchvision has no network 'alexne'; near it are: alexnet"),
        (
            {"library": "timm", "network": "test_vitt"},
            "timm has no network 'test_vitt'; near it are: test_vit",
        ),
        ({"library": "keras"}, "'torchvision' or 'timm'"),
        ({"distance": "l3"}, "'l1', 'l2' or 'cosine'"),
    ],
)
def test_mistakes_say_what_to_do(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**tree)


def test_wrong_files_and_layers_are_named(files: dict[str, Path]) -> None:
    with pytest.raises(
        ValueError, match=r"alexnet.pth does not hold the weights of timm's test_vit; \d+ differ"
    ):
        build(library="timm", network="test_vit", weights=files["alexnet"])
    with pytest.raises(ValueError, match="layer 13 is not among 0 to 12: features.0, features.1"):
        build(network="alexnet", weights=files["alexnet"], layers=[13])
    with pytest.raises(ValueError, match="no layer 'features.99'; near it are: features"):
        build(network="alexnet", weights=files["alexnet"], layers=["features.99"])
    with pytest.raises(ValueError, match="test_vit takes 160x160 pictures only: give losses.resize=160"):
        build(library="timm", network="test_vit", weights=files["test_vit"], resize=64)


def test_half_precision_is_close_and_its_distance_float32(
    files: dict[str, Path], x: Tensor, step_of: Step
) -> None:
    values, gradients = [], []
    for precision in ("fp32", "bf16"):
        loss = build(network="alexnet", weights=files["alexnet"], layers=[1, 4], precision=precision)
        x_hat = x.flip(2).requires_grad_()
        value = loss(step_of(x_hat), x)
        value.backward()
        assert x_hat.grad is not None
        assert value.dtype == x_hat.grad.dtype == torch.float32
        values.append(float(value.detach()))
        gradients.append(x_hat.grad.flatten())
    assert values[0] != values[1]
    assert values[1] == pytest.approx(values[0], rel=0.05)
    assert float(F.cosine_similarity(*gradients, dim=0)) > 0.98
