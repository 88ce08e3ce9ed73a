"""How clips go through networks: whole, or in pieces of any length with a cache that the caller owns.

A network only ever sees whole groups of frames (``LatentSpec.padded``). Frames, or latents, that do not fill one yet
wait in the cache. The kinds of ``LatentSpec.time``:

* ``causal``: a clip is one piece, or as many as the caller cuts; layers remember what they need of the past.
* ``chunk_causal``: the network sees chunks of ``chunk_frames``, whole but for the last; it looks ahead inside one.
* ``global``: clips of ``chunk_frames`` frames, each on its own; without that number a clip is one, and its pieces wait
  for the end.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tokenizer.layers.causal import Cache, Scoped
from tokenizer.spec import LatentSpec

Network = Callable[[Tensor, Cache | None], Tensor]  # (B, C, T, H, W), the cache of its layers
WAITING = "waiting"  # frames, or latents, that do not fill a group yet
DONE = "done"  # frames that went through so far, a number
OWED = "owed"  # frames that the caller's latents cover and that were not given back yet
LAST = "last"  # present where the clip ends with the next piece


def finish(cache: Cache) -> None:
    """Say that the clip of ``cache`` ends with the next piece, which may be empty: what waits goes through then.

    One call before the last ``encode``, and one, on the decoder's cache, before the last ``decode``.
    """
    cache[f"encoder/{LAST}"] = cache[f"decoder/{LAST}"] = torch.ones(())


def encode_clip(
    encoder: Network, x: Tensor, spec: LatentSpec, cache: Cache | None = None
) -> tuple[Tensor, int]:
    """x (B, 3, T, H, W), sides whole groups -> h (B, C, T', H', W') and the frames that it covers.

    With a ``cache``, x is what follows the clip so far, T >= 0; T' may be 0, h is then empty without channels.
    """
    if cache is None:
        return _run(encoder, _to_length(x, spec.padded(_size(x))[0]), spec, _groups(spec), None), x.shape[2]
    own = Scoped(cache, "encoder/")
    if WAITING in own:
        x = torch.cat([own.pop(WAITING), x], dim=2)
    done = int(own.get(DONE, 0))
    last = own.pop(LAST, None) is not None
    frames = x.shape[2] if last else _ready(x.shape[2], spec, _groups(spec), done)
    if frames < x.shape[2]:
        own[WAITING] = x[:, :, frames:].clone()
    own[DONE] = torch.tensor(done + frames)
    if not frames:
        return x.new_zeros(x.shape[0], 0, 0, *x.shape[3:]), 0
    size = (frames, *x.shape[3:])
    x = _to_length(x[:, :, :frames], spec.padded(size, continued=done > 0)[0])
    return _run(encoder, x, spec, _groups(spec), Scoped(own, "layers/"), done), frames


def decode_clip(
    decoder: Network, z: Tensor, spec: LatentSpec, frames: int, cache: Cache | None = None
) -> Tensor:
    """z (B, C, T', H', W') that covers ``frames`` -> x_hat (B, 3, T, H, W), T at least ``frames``.

    With a ``cache``, z is what follows; T is then the number of frames that are ready, none too many.
    """
    groups = _latent_groups(spec)
    if cache is None:
        return _run(decoder, z, spec, groups, None)
    own = Scoped(cache, "decoder/")
    if WAITING in own:
        z = torch.cat([own.pop(WAITING), z], dim=2)
    done = int(own.get(DONE, 0))
    owed = int(own.get(OWED, 0)) + frames
    last = own.pop(LAST, None) is not None
    ready = z.shape[2] if last else _ready(z.shape[2], spec, groups, done)
    if ready < z.shape[2]:
        own[WAITING] = z[:, :, ready:].clone()
    own[DONE] = torch.tensor(done + ready)
    if ready:
        x_hat = _run(decoder, z[:, :, :ready], spec, groups, Scoped(own, "layers/"), done)[:, :, :owed]
    else:
        factor = spec.z.spatial_factor
        x_hat = z.new_zeros(z.shape[0], 3, 0, z.shape[3] * factor, z.shape[4] * factor)
    own[OWED] = torch.tensor(owed - x_hat.shape[2])
    return x_hat


def begun(cache: Cache | None, network: str) -> bool:
    """Whether pieces of a clip went through the ``encoder`` or ``decoder`` of this cache already."""
    return cache is not None and int(cache.get(f"{network}/{DONE}", 0)) > 0


def _size(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[2:])


def _to_length(x: Tensor, frames: int) -> Tensor:
    """The last frame repeated until there are ``frames``."""
    missing = frames - x.shape[2]
    return x if missing <= 0 else torch.cat([x, x[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)


def _groups(spec: LatentSpec) -> tuple[int, int]:
    """Frames that stand alone at the start, and frames of every further piece that the network can be given.

    Where it can only be given a whole clip, these are 0.
    """
    lone = 1 if spec.first_frame_alone else 0
    return lone, spec.z.temporal_factor if spec.time == "causal" else spec.chunk_frames or 0


def _latent_groups(spec: LatentSpec) -> tuple[int, int]:
    lone, frames = _groups(spec)
    return lone, frames // spec.z.temporal_factor


def _ready(have: int, spec: LatentSpec, groups: tuple[int, int], done: int) -> int:
    """How many of ``have`` frames fill whole pieces, after ``done`` of them."""
    lone, step = groups
    lone = 0 if done else lone
    first = lone if spec.time == "causal" else lone + step  # a chunk has the first frame in it
    return 0 if not step or have < first else lone + (have - lone) // step * step


def _run(
    network: Network,
    x: Tensor,
    spec: LatentSpec,
    groups: tuple[int, int],
    cache: Cache | None,
    done: int = 0,
) -> Tensor:
    """One pass, or one a chunk."""
    lone, step = groups
    if spec.time == "causal" or not step:
        return network(x, cache if step else None)
    first = step + (0 if done else lone)
    if spec.time == "chunk_causal" and cache is None and x.shape[2] > first:
        cache = {}
    if spec.time == "global":
        cache = None
    sizes = [first] + [step] * (-(-max(0, x.shape[2] - first) // step))
    sizes[-1] = x.shape[2] - sum(sizes[:-1])
    return torch.cat([network(piece, cache) for piece in torch.split(x, sizes, dim=2)], dim=2)
