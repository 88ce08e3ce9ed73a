"""The laws of time, for every family of clips by its declared kind; the examples are the tiny presets."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tokenizer
from tokenizer.clips import finish
from tokenizer.config import TokenizerConfig
from tokenizer.core.config import find_preset
from tokenizer.layers.causal import Cache
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent
from tokenizer.streaming import decode_stream, encode_stream
from tokenizer.tiling import TilePlan
from tokenizer.training import TrainConfig

PRESETS = Path(tokenizer.__file__).parent / "configs"


def examples() -> dict[str, TokenizerConfig]:
    """A small model of every family of clips, by preset."""
    found: dict[str, TokenizerConfig] = {}
    for path in sorted(PRESETS.glob("tiny*.yaml")):
        model = TrainConfig.load(find_preset(path.stem, PRESETS), ["data.path=pictures", "out=run"]).model
        if model is not None and model.backbone.time is not None:
            found[path.stem] = model
    return found


EXAMPLES = examples()
STREAMING = [name for name, config in EXAMPLES.items() if config.spec.time != "global"]


def build(name: str, dtype: torch.dtype = torch.float64) -> Autoencoder:
    """Fresh weights none of which is zero, so that nothing hides."""
    torch.manual_seed(0)
    model = EXAMPLES[name].build().to(dtype).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    channels = model.spec.z.channels
    model.spec = model.spec.with_statistics({model.spec.z.name: ([0.1] * channels, [1.5] * channels)})
    return model


def clip(frames: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, frames, 40, 32, generator=generator, dtype=dtype) * 2 - 1


def cut(length: int, draw: random.Random) -> list[int]:
    """Random lengths that add up."""
    sizes = []
    while length:
        sizes.append(draw.randint(1, length))
        length -= sizes[-1]
    return sizes


def lengths(model: Autoencoder) -> list[int]:
    """Numbers of frames that fill groups and that do not, beyond a chunk where there are chunks."""
    factor, chunk = model.spec.z.temporal_factor, model.spec.chunk_frames or 0
    return [1, 2, factor + 1, 2 * factor + 3, *([chunk + 1, 2 * chunk + 3] if chunk else [])]


def far_apart(one: Tensor, other: Tensor) -> float:
    """Largest difference as a fraction of the range."""
    return float((one - other).abs().max() / (other.max() - other.min()).clamp_min(1e-6))


@pytest.mark.parametrize("name", STREAMING)
def test_pieces_of_any_length_are_the_whole(name: str) -> None:
    model, draw = build(name), random.Random(name)
    for frames in lengths(model):
        x = clip(frames)
        whole = model.encode(x)
        x_hat = model.decode(whole)
        assert x_hat.shape == x.shape
        latents = list(encode_stream(model, x.split(cut(frames, draw), dim=2)))
        assert sum(latent.size[0] for latent in latents) == frames
        z = torch.cat([latent.z for latent in latents], dim=2)
        assert z.shape == whole.z.shape
        assert far_apart(z, whole.z) <= 1e-10
        streamed = torch.cat(list(decode_stream(model, latents)), dim=2)
        assert streamed.shape == x.shape
        assert far_apart(streamed, x_hat) <= 1e-10


@pytest.mark.parametrize("name", STREAMING)
def test_latents_may_be_cut_anew_before_decoding(name: str) -> None:
    model, draw = build(name), random.Random(1)
    factor, alone = model.spec.z.temporal_factor, model.spec.first_frame_alone
    frames = 4 * factor + alone
    whole = model.encode(clip(frames))
    latents, covered = [], 0
    for z in whole.z.split(cut(whole.z.shape[2], draw), dim=2):
        after = (z.shape[2] + sum(latent.z.shape[2] for latent in latents) - alone) * factor + alone
        latents.append(Latent({"z": z}, (after - covered, 40, 32)))
        covered = after
    streamed = torch.cat(list(decode_stream(model, latents)), dim=2)
    assert far_apart(streamed, model.decode(whole)) <= 1e-10


@pytest.mark.parametrize("name", STREAMING)
def test_float32_agrees_and_the_same_cut_gives_the_same_bytes(name: str) -> None:
    model = build(name, torch.float32)
    x = clip(2 * model.spec.z.temporal_factor + 3, dtype=torch.float32)
    sizes = cut(x.shape[2], random.Random(2))
    whole = model.encode(x)
    runs = [[latent.z for latent in encode_stream(model, x.split(sizes, dim=2))] for _ in range(2)]
    assert far_apart(torch.cat(runs[0], dim=2), whole.z) <= 1e-5
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize("name", EXAMPLES)
def test_later_frames_change_no_earlier_latent(name: str) -> None:
    model = build(name)
    spec = model.spec
    step = spec.z.temporal_factor if spec.time == "causal" else (spec.chunk_frames or 1)
    alone = int(spec.first_frame_alone)
    frames = alone + 2 * step
    x = clip(frames)
    before = model.encode(x).z
    for changed in sorted({0, alone, alone + step - 1, alone + step, frames - 1}):
        other = x.clone()
        other[:, :, changed] = -other[:, :, changed]
        after = model.encode(other).z
        group = 0 if changed < alone else alone + (changed - alone) // step * (step // spec.z.temporal_factor)
        assert torch.equal(after[:, :, :group], before[:, :, :group])
        assert not torch.equal(after[:, :, group:], before[:, :, group:])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_picture_is_a_clip_of_one_frame(name: str) -> None:
    model = build(name)
    x = clip(1)
    picture, moving = model.encode(x[:, :, 0]), model.encode(x)
    assert picture.size == (40, 32)
    assert torch.equal(picture.z, moving.z)
    assert torch.equal(model.decode(picture), model.decode(moving)[:, :, 0])


@pytest.mark.parametrize("name", STREAMING)
def test_tiles_and_pieces_compose(name: str) -> None:
    model, draw = build(name), random.Random(3)
    factor = model.spec.z.spatial_factor
    plan = TilePlan(2 * factor, factor)
    frames = model.spec.z.temporal_factor + 2
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, frames, 3 * factor, 4 * factor - 1, generator=generator, dtype=torch.float64)
    whole = model.encode(x, tiles=plan)
    assert not torch.equal(whole.z, model.encode(x).z)
    latents = list(encode_stream(model, x.split(cut(frames, draw), dim=2), tiles=plan))
    assert far_apart(torch.cat([latent.z for latent in latents], dim=2), whole.z) <= 1e-10
    streamed = torch.cat(list(decode_stream(model, latents, tiles=plan)), dim=2)
    assert far_apart(streamed, model.decode(whole, tiles=plan)) <= 1e-10


@pytest.mark.parametrize("name", STREAMING)
def test_two_callers_never_see_each_other(name: str) -> None:
    model = build(name)
    frames = (model.spec.chunk_frames or 2 * model.spec.z.temporal_factor) + 1
    clips = [clip(frames, seed) for seed in (1, 2)]
    caches: list[Cache] = [{}, {}]
    before = {key: value for key, value in vars(model).items() if not key.startswith("_")}
    found: list[list[Tensor]] = [[], []]
    for frame in range(frames):
        for caller in (0, 1):
            if frame + 1 == frames:
                finish(caches[caller])
            latent = model.encode(clips[caller][:, :, frame : frame + 1], cache=caches[caller])
            found[caller].append(latent.z)
    for caller in (0, 1):
        assert far_apart(torch.cat(found[caller], dim=2), model.encode(clips[caller]).z) <= 1e-10
    assert {key: value for key, value in vars(model).items() if not key.startswith("_")} == before


@pytest.mark.parametrize("name", STREAMING)
def test_the_cache_does_not_grow_with_the_clip(name: str) -> None:
    model = build(name, torch.float32)
    step = model.spec.chunk_frames or model.spec.z.temporal_factor
    cache: Cache = {}
    held = []
    for seed in range(4):
        latent = model.encode(clip(step, seed, torch.float32), cache=cache)
        model.decode(latent, cache=cache)
        held.append(sum(tensor.untyped_storage().nbytes() for tensor in cache.values()))
    assert held[1] == held[2] == held[3]


@pytest.mark.parametrize("name", EXAMPLES)
def test_gradients_are_finite_in_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    model = EXAMPLES[name].build()
    size = model.spec.padded((model.spec.z.temporal_factor + 1, 32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = model(torch.rand(1, 3, *size) * 2 - 1)
    step.x_hat.float().square().mean().backward()
    gradients = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_no_frames_are_refused() -> None:
    model = build(STREAMING[0])
    with pytest.raises(ValueError, match="no frames"):
        list(encode_stream(model, []))
    with pytest.raises(ValueError, match="no pixels"):
        model.encode(clip(1)[:, :, :0])
    with pytest.raises(ValueError, match="frames of a clip"):
        model.encode(clip(1)[:, :, 0], cache={})


def test_families_of_pictures_take_no_clips(tiny_config: TokenizerConfig) -> None:
    with pytest.raises(ValueError, match=r"x must be \(B, 3, H, W\)"):
        tiny_config.build().encode(clip(1))
    with pytest.raises(ValueError, match="no cache"):
        tiny_config.build().encode(clip(1)[:, :, 0], cache={})
