"""How codes follow features: running means, beginnings, revival; alone and on two processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist

from tokenizer.core.ema import EMA
from tokenizer.layers.codebook import (
    Codebook,
    CodebookConfig,
    count,
    first_codes,
    kmeans,
    quantize,
    usage_stats,
)

ROOT = Path(__file__).parents[3]


def clusters(seed: int = 0, rows: int = 64, channels: int = 4, spread: float = 0.1) -> Tensor:
    """Features about four far points, with a gradient as an encoder's output has."""
    generator = torch.Generator().manual_seed(seed)
    centres = 5.0 * torch.randn(4, channels, generator=torch.Generator().manual_seed(9))
    chosen = torch.randint(0, 4, (rows,), generator=generator)
    h = centres[chosen] + spread * torch.randn(rows, channels, generator=generator)
    return h.requires_grad_()


def book(size: int = 16, **settings: Any) -> Codebook:
    torch.manual_seed(0)
    return Codebook(size, 4, **settings)


def step(module: Codebook, h: Tensor) -> Tensor:
    """One training pass; the indices."""
    out = quantize(module, h, commitment=0.25, estimator="straight_through")
    out.loss.backward()
    return out.indices


def test_running_means_are_the_closed_form() -> None:
    """N <- g N + (1 - g) n and m <- g m + (1 - g) sum, e = m / N smoothed."""
    module, h = book(3, update="ema", decay=0.8), clusters()
    before = module.codebook.clone()
    indices = step(module, h)
    n = torch.bincount(indices, minlength=3).float()
    sums = torch.stack([h.detach()[indices == k].sum(dim=0) for k in range(3)])
    counts, means = 0.8 + 0.2 * n, 0.8 * before + 0.2 * sums
    torch.testing.assert_close(module.counts, counts)
    torch.testing.assert_close(module.sums, means)
    smoothed = (counts + 1e-5) / (counts.sum() + 3e-5) * counts.sum()
    torch.testing.assert_close(module.codebook, means / smoothed.unsqueeze(1))
    assert int(module.passes) == 1


def test_a_codebook_moves_only_while_it_is_trained() -> None:
    h = clusters()
    for module, features in (
        (book(update="ema", revival="reset").eval(), h),
        (book(update="ema", revival="reset"), h.detach()),  # the encoder is frozen
        (book(revival="cvq").requires_grad_(False), h),
    ):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        quantize(module, features, commitment=0.25, estimator="straight_through")
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        module = book(update="ema")
        quantize(module, h, commitment=0.25, estimator="straight_through")
    assert int(module.passes) == 0


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_indices_to_codes_and_back_is_the_identity(update: str, distance: str) -> None:
    module = book(200, update=update, distance=distance)
    for _ in range(3):
        step(module, torch.randn(500, 4).requires_grad_())
    indices = torch.arange(200)
    for dtype in (torch.float32, torch.bfloat16):
        found = module.search(module.place(module.lookup(indices).to(dtype)))
        if dtype == torch.float32:
            assert torch.equal(found, indices)
        else:  # codes nearer to each other than bfloat16 tells are the only ones that may be taken for each other
            gap = (module.codes[found] - module.codes[indices]).norm(dim=1)
            assert (gap <= 2**-7 * module.codes[indices].norm(dim=1)).all()


def test_cosine_codes_and_features_have_unit_length() -> None:
    for update in ("gradient", "ema"):
        module = book(update=update, distance="cosine", revival="reset")  # type: ignore[arg-type]
        out = quantize(module, clusters(), commitment=0.25, estimator="straight_through")
        torch.testing.assert_close(out.z.norm(dim=1), torch.ones(64))
        torch.testing.assert_close(out.rows.norm(dim=1), torch.ones(64))
        similar = nn.functional.normalize(clusters().detach(), dim=1) @ out.z.detach().T
        assert torch.equal(similar.diagonal(), similar.diagonal())
    torch.testing.assert_close(module.codes.norm(dim=1), torch.ones(16))


def test_the_first_batch_gives_the_codes() -> None:
    h = clusters()
    module = book(initialization="batch")
    step(module, h)
    assert all(any(torch.equal(code, row) for row in h.detach()) for code in module.codebook.detach())
    kept = module.codebook.detach().clone()
    step(module, clusters(1))
    assert torch.equal(module.codebook.detach(), kept)


def test_kmeans_finds_the_clusters() -> None:
    h = clusters().detach()
    codes = kmeans(h, first_codes(h, 16, "a"))
    error = torch.cdist(h, codes).min(dim=1).values.square().mean()
    assert error < 4 * 0.1**2
    module = book(initialization="kmeans", update="ema")
    out = quantize(module, clusters(), commitment=1.0, estimator="straight_through")
    assert out.loss < 0.1**2  # already in the first pass
    spherical = kmeans(nn.functional.normalize(h, dim=1), first_codes(h, 4, "a"), unit=True)
    assert spherical.norm(dim=1).max() < 100


def test_fewer_features_than_codes_begin_apart() -> None:
    codes = first_codes(clusters(rows=8).detach(), 20, "a")
    assert codes.shape == (20, 4)
    assert len(codes.unique(dim=0)) == 20


@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_reset_brings_dead_codes_back_and_they_stay(update: str) -> None:
    """A code that nothing chose is soon a feature; its running sum goes with it, so the next mean keeps it there."""
    module = book(update=update, revival="reset", decay=0.5, dead_below=0.3)
    with torch.no_grad():
        module.codebook[1:] += 1000.0  # far from every feature
        if update == "ema":
            module.sums.copy_(module.codebook)
    for seed in range(4):
        step(module, clusters(seed))
    assert module.codebook.detach().abs().max() < 30.0
    near = module.codebook.detach().clone()
    for seed in range(4, 10):
        step(module, clusters(seed))
        assert module.codebook.detach().abs().max() < 30.0
    indices = step(module, clusters(99))
    assert len(indices.unique()) > 4
    assert not torch.equal(near, module.codebook.detach())


@pytest.mark.parametrize("anchor", ["closest", "random", "probabilistic"])
@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_online_clustering_moves_unused_codes_alone(update: str, anchor: str) -> None:
    module = book(update=update, revival="cvq", anchor=anchor, decay=0.9)
    with torch.no_grad():
        module.codebook[1:] += 1000.0
        if update == "ema":
            module.sums.copy_(module.codebook)
    step(module, clusters())
    codes = module.codebook.detach()
    assert codes[1:].abs().max() < 30.0
    assert module.usage[0] == pytest.approx(0.1)  # one code was chosen by all
    if update == "gradient":
        assert codes[0].abs().max() <= 1 / 16  # the one in use was left alone


def test_a_lonely_codebook_dies_and_a_revived_one_does_not() -> None:
    shares = {}
    for revival in ("none", "reset", "cvq"):
        module = book(64, update="ema", revival=revival, anchor="random", decay=0.8, dead_below=0.2)
        module.codebook[2:] += 1000.0
        module.sums.copy_(module.codebook)
        for seed in range(30):
            indices = step(
                module, torch.randn(256, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()
            )
        shares[revival] = usage_stats(count(indices, 64))["used"].item()
    assert shares["none"] == 2 / 64
    assert shares["reset"] > 0.8
    assert shares["cvq"] > 0.8


@pytest.mark.parametrize("revival", ["reset", "cvq"])
def test_draws_do_not_touch_global_random_state(revival: str) -> None:
    module = book(update="ema", revival=revival, anchor="random", initialization="kmeans")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    step(module, clusters())
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_saved_codebook_goes_on_where_it_stopped() -> None:
    """The counter of the draws is part of the state."""
    settings: dict[str, Any] = {"update": "ema", "revival": "reset", "decay": 0.5, "dead_below": 0.5}
    whole, broken = book(**settings), book(**settings)
    for seed in range(3):
        step(whole, clusters(seed))
        step(broken, clusters(seed))
    resumed = book(**settings)
    resumed.load_state_dict(broken.state_dict())
    for seed in range(3, 6):
        step(whole, clusters(seed))
        step(resumed, clusters(seed))
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_learning_inside_the_pass_leaves_its_gradients_alone(update: str) -> None:
    """Codes move in place between forward and backward; what the backward pass needs was kept aside."""
    kept: list[Tensor] = []
    for revival in ("none", "cvq"):
        module = book(update=update, revival=revival, distance="cosine")
        h = clusters()
        out = quantize(module, h, commitment=0.25, estimator="rotation")
        (out.loss + out.z.square().mean() + out.z.sum()).backward()
        assert h.grad is not None
        kept.append(h.grad)
    assert torch.equal(kept[0], kept[1])


def test_the_average_of_weights_takes_all_of_it() -> None:
    module = book(update="ema", revival="reset")
    average = EMA(module, half_life=10)
    step(module, clusters())
    average.update(module, 100, 10)
    assert average.state_dict()["passes"].item() == 1


def test_usage_of_a_pass() -> None:
    stats = usage_stats(torch.tensor([2.0, 2.0, 0.0, 0.0]))
    assert stats["perplexity"].item() == pytest.approx(2.0)
    assert stats["used"].item() == 0.5
    assert usage_stats(torch.ones(8))["perplexity"].item() == pytest.approx(8.0)
    assert count(torch.tensor([[0, 2], [2, 1]]), 4).tolist() == [1.0, 1.0, 2.0, 0.0]


def test_a_configuration_says_what_can_be_chosen() -> None:
    with pytest.raises(ValueError, match=r"(?s)revival.*'none', 'reset' or 'cvq'"):
        CodebookConfig.parse({"codebook_size": 8, "revival": "restart"})
    with pytest.raises(ValueError, match="codebook_size"):
        CodebookConfig.parse({"codebook_size": 1})


SETTINGS: list[dict[str, Any]] = [
    {"update": "ema", "decay": 0.8},
    {"update": "ema", "revival": "reset", "decay": 0.5, "dead_below": 0.5, "initialization": "kmeans"},
    {"update": "gradient", "revival": "reset", "decay": 0.5, "dead_below": 0.5, "initialization": "batch"},
    {"update": "gradient", "revival": "cvq", "decay": 0.9, "anchor": "closest"},
    {"update": "ema", "revival": "cvq", "decay": 0.9, "anchor": "random"},
    {"update": "ema", "revival": "cvq", "decay": 0.9, "anchor": "probabilistic", "distance": "cosine"},
]


def trained(settings: dict[str, Any], process: int, num_processes: int) -> dict[str, Tensor]:
    """State after five passes over this process's share of each batch; gradients averaged, as wrappers do."""
    module = book(24, **settings)
    optimizer = torch.optim.SGD(list(module.parameters()) or [torch.zeros(1)], lr=0.5)
    for seed in range(5):
        h = clusters(seed, spread=2.0).detach().chunk(num_processes)[process].requires_grad_()
        step(module, h)
        for parameter in module.parameters():
            assert parameter.grad is not None
            if num_processes > 1:
                dist.all_reduce(parameter.grad)
                parameter.grad /= num_processes
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def work(process: int, folder: str) -> None:
    """What each of two processes does; this file is its program."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=process, world_size=2)
    states = [trained(settings, process, 2) for settings in SETTINGS]
    torch.save(states, f"{folder}/{process}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path) -> None:
    """Statistics, clusters and revived codes; and both processes hold the same bits."""
    command = [sys.executable, __file__]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    both = [torch.load(tmp_path / f"{process}.pt", weights_only=True) for process in range(2)]
    for index, settings in enumerate(SETTINGS):
        alone = trained(settings, 0, 1)
        fresh = book(24, **settings).state_dict()
        for name, value in alone.items():
            assert torch.equal(both[0][index][name], both[1][index][name]), (settings, name)
            torch.testing.assert_close(
                both[0][index][name], value, atol=1e-5, rtol=1e-5, msg=f"{settings} {name}"
            )
        assert not torch.allclose(alone["codebook"], fresh["codebook"], atol=1e-2)


if __name__ == "__main__":
    work(int(sys.argv[1]), sys.argv[2])
