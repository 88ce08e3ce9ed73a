"""VQ: the loss's two terms, gradients in closed form, and parity with vector-quantize-pytorch."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from vector_quantize_pytorch import VectorQuantize

from tokenizer.bottlenecks.vq import VQ, VQConfig

GRID = (5, 7)


def build(channels: int = 6, **settings: Any) -> VQ:
    torch.manual_seed(0)
    module = VQConfig.parse({"codebook_size": 40, **settings}).build(channels)
    with torch.no_grad():
        module.book.codebook.copy_(torch.randn(40, channels))
        if module.book.update == "ema":
            module.book.sums.copy_(module.book.codebook)
    return module


def features(seed: int = 0, channels: int = 6) -> Tensor:
    return torch.randn(2, channels, *GRID, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def theirs(module: VQ, **settings: Any) -> VectorQuantize:
    """Their quantizer with our codes."""
    other = VectorQuantize(
        dim=6,
        codebook_size=40,
        accept_image_fmap=True,
        decay=module.book.decay,
        commitment_weight=module.commitment,
        **settings,
    )
    with torch.no_grad():
        other._codebook.embed.copy_(module.book.codebook[None])
        other._codebook.embed_avg.copy_(module.book.codebook[None])
    return other


def test_beta_weights_the_features_way_and_one_the_codes() -> None:
    """Where others weight the codes' term by default, the two gradients would be exchanged."""
    module, h = build(commitment=0.25), features()
    module(h).loss.backward()
    q = module.decode_indices(module(h).indices, GRID).detach()
    assert h.grad is not None
    torch.testing.assert_close(h.grad, 0.25 * 2 * (h.detach() - q) / h.numel())
    rows = (q - h.detach()).movedim(1, -1).reshape(-1, 6) * 2 / h.numel()
    expected = torch.zeros(40, 6).index_add_(0, module(h).indices.flatten(), rows)
    torch.testing.assert_close(module.book.codebook.grad, expected)


def test_running_codes_have_no_gradient_and_only_the_commitment() -> None:
    module, h = build(update="ema", commitment=0.5), features()
    out = module(h)
    q = module.decode_indices(out.indices, GRID)
    assert list(module.parameters()) == []
    fresh = build(update="ema", commitment=0.5)
    q = fresh.decode_indices(out.indices, GRID)  # the codes as they were when they were chosen
    torch.testing.assert_close(out.loss, 0.5 * F.mse_loss(h, q))
    assert torch.equal(out.z, q)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_the_decoder_s_gradient_comes_back_by_the_estimator(estimator: str) -> None:
    module, h = build(estimator=estimator, commitment=0.0), features()
    g = torch.randn_like(h)
    out = module(h)
    out.z.backward(g)
    assert h.grad is not None
    if estimator == "straight_through":
        assert torch.equal(h.grad, g)
        return
    u, v = F.normalize(h.detach(), dim=1), F.normalize(out.z.detach(), dim=1)
    w = F.normalize(u + v, dim=1)
    back = g - 2 * w * (w * g).sum(dim=1, keepdim=True) + 2 * u * (v * g).sum(dim=1, keepdim=True)
    ratio = out.z.detach().norm(dim=1, keepdim=True) / h.detach().norm(dim=1, keepdim=True)
    torch.testing.assert_close(h.grad, ratio * back, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_it_equals_vector_quantize_pytorch(update: str, rotation: bool) -> None:
    """Values, loss, gradients, and codes after three steps of training."""
    estimator = "rotation" if rotation else "straight_through"
    module = build(update=update, estimator=estimator, decay=0.8, commitment=0.25)
    learned = update == "gradient"
    other = theirs(module, rotation_trick=rotation, learnable_codebook=learned, ema_update=not learned)
    for seed in range(3):
        mine, their = features(seed), features(seed)
        out = module(mine)
        z, indices, loss = other(their)
        assert torch.equal(out.indices, indices)
        torch.testing.assert_close(out.z, z, atol=1e-5, rtol=1e-5)
        g = torch.randn(out.z.shape, generator=torch.Generator().manual_seed(seed))
        (out.z * g).sum().backward()
        (z * g).sum().backward(retain_graph=True)
        torch.testing.assert_close(mine.grad, their.grad, atol=1e-5, rtol=1e-4)
        # Their learned codebook has one term |h - q|^2 without stopped gradients: ours is the same value for
        # commitment 1 / 2 a side, so only the running codebook's loss is the same number.
        if not learned:
            torch.testing.assert_close(out.loss, loss)
            torch.testing.assert_close(module.book.codebook, other._codebook.embed[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(module.book.counts, other._codebook.cluster_size[0])


def test_cosine_codes_equal_vector_quantize_pytorch_s() -> None:
    module = build(update="ema", distance="cosine", decay=0.8, commitment=1.0)
    with torch.no_grad():
        module.book.codebook.copy_(F.normalize(module.book.codebook, dim=1))
        module.book.sums.copy_(module.book.codebook)
    other = theirs(module, rotation_trick=False, use_cosine_sim=True)
    for seed in range(3):
        out = module(features(seed))
        z, indices, loss = other(features(seed))
        assert torch.equal(out.indices, indices)
        torch.testing.assert_close(out.z, z, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.loss, loss)
        torch.testing.assert_close(module.book.codebook, other._codebook.embed[0], atol=1e-5, rtol=1e-5)


def test_reset_equals_vector_quantize_pytorch_in_what_it_keeps() -> None:
    """Which features revive differs by the draw; the codes in use, and that no dead one stays, do not."""
    module = build(update="ema", revival="reset", decay=0.5, dead_below=0.9)
    with torch.no_grad():
        module.book.codebook[20:] += 100.0
        module.book.sums.copy_(module.book.codebook)
    other = theirs(module, rotation_trick=False, threshold_ema_dead_code=1)
    for seed in range(6):
        module(features(seed))
        other(features(seed))
    assert module.codebook.abs().max() < 10
    assert other.codebook.abs().max() < 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_indices_to_z_and_back_is_the_identity(distance: str, dtype: torch.dtype) -> None:
    module = build(channels=6, distance=distance).eval().to(dtype)
    indices = torch.randint(0, 40, (2, *GRID), generator=torch.Generator().manual_seed(0))
    z = module.decode_indices(indices, GRID)
    assert z.dtype == dtype
    again = module(z)
    assert torch.equal(again.indices, indices)
    assert torch.equal(again.z, z) or distance == "cosine"


def test_a_large_codebook_is_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most BLOCK scores are made at once, whatever the picture."""
    module = VQConfig(codebook_size=262_144).build(2)
    made: list[int] = []
    addmm = torch.addmm

    def watched(*args: Tensor) -> Tensor:
        scores = addmm(*args)
        made.append(scores.numel())
        return scores

    monkeypatch.setattr(torch, "addmm", watched)
    with torch.no_grad():
        out = module.eval()(torch.randn(1, 2, 20, 20))
    assert max(made) <= 2**26
    assert sum(made) == 400 * 262_144
    assert out.indices.shape == (1, 20, 20)


def test_bfloat16_autocast_does_not_touch_the_search() -> None:
    module, h = build(update="ema"), features()
    expected = build(update="ema")(h)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(h)
    assert torch.equal(out.indices, expected.indices)
    assert torch.equal(module.book.codebook, build_after(h))


def build_after(h: Tensor) -> Tensor:
    module = build(update="ema")
    module(h)
    return module.book.codebook


def test_the_entropy_of_the_choice_is_a_share_of_the_loss() -> None:
    """GigaTok: a softmax over squared distances; decided features, evenly used codes."""
    torch.manual_seed(0)
    plain = VQConfig(codebook_size=8).build(4)
    module = VQConfig(codebook_size=8, entropy=0.5, entropy_temperature=0.2).build(4)
    module.load_state_dict(plain.state_dict())
    h = 0.3 * torch.randn(2, 4, 6)
    out = module(h)
    distances = torch.cdist(h.transpose(1, 2).reshape(-1, 4), module.codebook).square()
    p = (-distances / 0.2).softmax(dim=1)
    undecided, spread = torch.special.entr(p).sum(dim=1).mean(), torch.special.entr(p.mean(dim=0)).sum()
    torch.testing.assert_close(out.loss, plain(h).loss + 0.5 * (undecided - spread))
    torch.testing.assert_close(out.stats["batch_entropy"], spread)
    out.loss.backward()
    assert module.book.codebook.grad.abs().sum() > 0
