"""IBQ: the gradient of the softmax over all codes, entropies, and blocks that change nothing."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tokenizer.bottlenecks.ibq import IBQ, IBQConfig


def build(block: int = 2**26, channels: int = 6, size: int = 20) -> IBQ:
    torch.manual_seed(0)
    module = IBQ(size, channels, block=block)
    torch.nn.init.normal_(module.codebook)
    return module


def features(channels: int = 6) -> Tensor:
    return torch.randn(2, channels, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()


def written_out(module: IBQ, h: Tensor) -> tuple[Tensor, Tensor]:
    """z and loss with every table of N x K made whole."""
    rows = h.movedim(1, -1).reshape(-1, h.shape[1])
    scores = rows @ module.codebook.T
    soft = scores.softmax(dim=1)
    hot = F.one_hot(scores.argmax(dim=1), len(module.codebook)).float()
    q, hard = (hot + soft - soft.detach()) @ module.codebook, hot @ module.codebook
    loss = (q - rows).square().mean() + (hard.detach() - rows).square().mean()
    loss = loss + 0.25 * (hard - rows.detach()).square().mean()
    log_sharp = (scores / 0.01).log_softmax(dim=1)
    mean = log_sharp.exp().mean(dim=0).clamp_min(1e-12)
    entropy = -(log_sharp.exp() * log_sharp).sum(dim=1).mean() + (mean * mean.log()).sum()
    return q.view(2, 3, 5, -1).movedim(-1, 1), loss + 0.05 * entropy


@pytest.mark.parametrize("block", [20, 100, 2**26])
def test_it_is_the_formula_with_its_gradients(block: int) -> None:
    """In blocks of one row, of five, and whole."""
    module, reference = build(block), build()
    mine, plain = features(), features()
    g = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(1))
    out = module(mine)
    z, loss = written_out(reference, plain)
    torch.testing.assert_close(out.z, z)
    torch.testing.assert_close(out.loss, loss, atol=1e-5, rtol=1e-5)
    (out.loss + (out.z * g).sum()).backward()
    (loss + (z * g).sum()).backward()
    torch.testing.assert_close(mine.grad, plain.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(module.codebook.grad, reference.codebook.grad, atol=1e-4, rtol=1e-4)


def test_every_code_gets_a_gradient_from_the_decoder() -> None:
    """VQ would move the chosen codes alone."""
    module = build()
    with torch.no_grad():
        module.codebook.mul_(0.3)
    out = module(features())
    assert len(out.indices.unique()) < 20
    out.z.square().sum().backward()
    assert module.codebook.grad is not None
    assert (module.codebook.grad.abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_indices_to_z_and_back_is_the_identity(dtype: torch.dtype) -> None:
    """With many channels, where a code's product with itself is the largest."""
    module = build(channels=64, size=128).eval().to(dtype)
    indices = torch.randint(0, 128, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    z = module.decode_indices(indices, (4, 5))
    assert z.dtype == dtype
    assert torch.equal(module(z).indices, indices)


def test_the_entropies_are_least_for_decided_and_even_use() -> None:
    module = IBQ(4, 4, entropy=1.0)
    with torch.no_grad():
        module.codebook.copy_(5 * torch.eye(4))
    even = 5 * torch.eye(4).view(1, 4, 2, 2)
    one = even[:, :, :1, :1].expand(1, 4, 2, 2)
    stats = module(even).stats
    assert stats["sample_entropy"].item() == pytest.approx(0.0, abs=1e-6)
    assert stats["batch_entropy"].item() == pytest.approx(torch.tensor(4.0).log().item())
    assert stats["perplexity"].item() == pytest.approx(4.0)
    assert module(one).stats["batch_entropy"].item() == pytest.approx(0.0, abs=1e-6)
    undecided = module(torch.zeros(1, 4, 2, 2)).stats
    assert undecided["sample_entropy"].item() == pytest.approx(torch.tensor(4.0).log().item())


def test_memory_is_a_block_of_scores() -> None:
    """What the graph keeps until the backward pass holds no table of all positions by all codes."""
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    module = build(block=5 * 4096, size=4096)
    h = features()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = module(h)
    assert max(kept) < h[:, 0].numel() * 4096 // 4
    out.z.sum().backward()
    assert h.grad is not None


def test_its_settings_are_named() -> None:
    with pytest.raises(ValueError, match="temperature"):
        IBQConfig.parse({"codebook_size": 8, "temperature": 0})
    module = IBQConfig(codebook_size=8, commitment=0.5, entropy=0.1, temperature=0.02).build(3)
    assert (module.commitment, module.entropy, module.temperature) == (0.5, 0.1, 0.02)


def test_codes_begin_where_they_are_told_to() -> None:
    torch.manual_seed(0)
    assert float(IBQConfig(codebook_size=512).build(8).codebook.detach().abs().max()) <= 1 / 512
    codes = IBQConfig(codebook_size=512, init_std=0.3).build(8).codebook.detach()
    assert float(codes.std()) == pytest.approx(0.3, rel=0.05)
    assert abs(float(codes.mean())) < 0.02
