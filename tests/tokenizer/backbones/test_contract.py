"""What every backbone promises, whatever its kind; the examples are the tiny presets."""

import copy
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

import tokenizer
from tokenizer.backbones import BackboneConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core.config import find_preset
from tokenizer.layers.recompute import recompute_blocks
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent
from tokenizer.training import TrainConfig

PRESETS = Path(tokenizer.__file__).parent / "configs"
KINDS = sorted(member.model_fields["kind"].default for member in get_args(get_args(BackboneConfig)[0]))


def examples() -> dict[str, TokenizerConfig]:
    """A small model of each kind."""
    found: dict[str, TokenizerConfig] = {}
    for path in sorted(PRESETS.glob("tiny*.yaml")):
        model = TrainConfig.load(find_preset(path.stem, PRESETS), ["data.path=pictures", "out=run"]).model
        if model is not None:
            found.setdefault(model.backbone.kind, model)
    return found


EXAMPLES = examples()


def walk(model: Autoencoder, x: Tensor, z: Tensor) -> int:
    """Gradients of both networks on their own inputs; returns the bytes kept for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        h, x_hat = model.to_features(x), model.to_pixels(z, tuple(x.shape[2:]))
    (h.square().mean() + x_hat.square().mean()).backward()
    return sum(kept.values())


def weights_bytes(model: nn.Module) -> int:
    """Kept by either way of walking back."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def test_every_kind_has_a_tiny_preset() -> None:
    assert sorted(EXAMPLES) == KINDS


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_recomputed_blocks_change_no_gradient_and_keep_less(kind: str) -> None:
    torch.manual_seed(0)
    plain = EXAMPLES[kind].build()
    other = copy.deepcopy(plain)
    recompute_blocks(other.encoder, other.decoder)
    assert other.state_dict().keys() == plain.state_dict().keys()
    size = (32, 32) if plain.spec.time == "none" else plain.spec.padded((5, 32, 32))
    x = torch.rand(2, 3, *size) * 2 - 1
    z = torch.randn(2, *plain.spec.shape(size)["z"])
    bytes_kept = [walk(model, x, z) for model in (plain, other)]
    weights = weights_bytes(plain)
    assert bytes_kept[1] - weights < 0.7 * (bytes_kept[0] - weights)
    for (name, one), two in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        if one.grad is not None and two.grad is not None:
            assert torch.equal(one.grad, two.grad), name
    for name, value in plain.state_dict().items():  # batch norms have seen the pictures once
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_blocks_are_parts_of_their_network_and_do_not_overlap(kind: str) -> None:
    with torch.device("meta"):
        model = EXAMPLES[kind].build()
    for network in (model.encoder, model.decoder):
        blocks = list(network.blocks())  # type: ignore[operator]  # what recompute_blocks asks for
        inside = {id(module) for module in network.modules()}
        assert blocks
        assert all(id(block) in inside for block in blocks)
        within = [id(module) for block in blocks for module in block.modules()]
        assert len(set(within)) == len(within)


def rows_of_several_lengths() -> dict[str, TokenizerConfig]:
    """Every tiny preset whose number of tokens can be chosen."""
    found: dict[str, TokenizerConfig] = {}
    for path in sorted(PRESETS.glob("tiny*.yaml")):
        model = TrainConfig.load(find_preset(path.stem, PRESETS), ["data.path=pictures", "out=run"]).model
        if model is not None and isinstance(model.backbone.num_tokens, tuple):
            found[path.stem] = model
    return found


ROWS = rows_of_several_lengths()


@pytest.mark.parametrize("name", sorted(ROWS))
@torch.no_grad()
def test_every_allowed_number_of_tokens_decodes(name: str) -> None:
    """The fewest, the most and one between; what is encoded for a number decodes, and so do its codes alone."""
    torch.manual_seed(0)
    model = ROWS[name].build().eval()
    part = model.spec.z
    model.spec = model.spec.with_statistics({"z": ([0.0] * part.channels, [1.0] * part.channels)})
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    counts = part.token_counts
    for count in {counts[0], counts[len(counts) // 2], counts[-1]}:
        latent = model.encode(x, num_tokens=count)
        assert latent.z.shape == (1, part.channels, count)
        x_hat = model.decode(latent, generator=torch.Generator().manual_seed(0))
        assert x_hat.shape == x.shape
        assert torch.isfinite(x_hat).all()
        if latent.indices:
            alone = model.decode(Latent({}, latent.size, indices=latent.indices))
            torch.testing.assert_close(alone, x_hat, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="tokens, not"):
        model.encode(x, num_tokens=counts[-1] + 1)
