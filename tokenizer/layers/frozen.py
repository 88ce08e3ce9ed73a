"""Frozen encoders: patch features of somebody's network without gradient, for those who align to it or build on it.

The networks come from local files and nothing is downloaded. They are no part of any module, so that checkpoints,
averages, optimizers and processes that exchange gradients never see their weights.

Letters: B batch, C channels of a feature, P patch side in pixels, H' W' the features' grid, N = H' W'.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core.checkpoint import sha256_of
from tokenizer.core.config import Config
from tokenizer.core.run import Precision
from tokenizer.core.weights import load_weights
from tokenizer.layers.networks import IMAGENET_MEAN, IMAGENET_STD, Triple, build_timm, fill
from tokenizer.layers.plain_vit import PlainViTSize
from tokenizer.layers.precision import full_precision, half_precision
from tokenizer.layers.transformer import Grid

Library = Literal["transformers", "timm", "ours", "random"]
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF: Triple = (0.5, 0.5, 0.5)
# Of pixels in [0, 1], where a folder of transformers does not say it.
NORMS: dict[str, tuple[Triple, Triple]] = {"clip": (OPENAI_MEAN, OPENAI_STD), "siglip": (HALF, HALF)}
WEIGHTS = "model.safetensors"


class FrozenConfig(Config):
    """Whose features: a folder for transformers (DINOv2, SigLIP, CLIP), a file for timm, one trained here, or random.

    ``random`` is what an encoder knows before it has learned anything: an ablation that needs no file.
    """

    library: Library = "transformers"
    folder: Path | None = Field(
        None, description="transformers: config.json, model.safetensors; ours: what teacher wrote"
    )
    network: str | None = Field(None, description="timm: the name of a vision transformer")
    weights: Path | None = Field(None, description="timm: its .safetensors or .pth file")
    channels: int | None = Field(
        None, ge=1, description="of a feature; random: chosen here; else as its files say"
    )
    patch: int | None = Field(None, ge=1, description="pixels a side of a patch; likewise")
    depth: int = Field(4, ge=1, description="random: number of blocks")
    heads: int = Field(4, ge=1, description="random: heads of a block")
    seed: int = Field(0, description="random: names the weights")
    layer: int | None = Field(
        None, description="output of this block, -1 the last; none: the normalised output"
    )
    precision: Precision = Field("fp32", description="of the network; features are always float32")

    @model_validator(mode="after")
    def _consistent(self) -> "FrozenConfig":
        if self.library == "random" and (self.channels is None or self.patch is None):
            raise ValueError("a random frozen encoder needs channels and patch")
        if self.library in ("ours", "random") and self.layer is not None:
            raise ValueError("layer is for encoders of transformers and timm")
        return self

    def open(self) -> "Frozen":
        """The encoder; its weights are read when it is first used.

        Raises:
            ValueError: if files are missing, saying what to put where, or channels or patch are not theirs.
        """
        return Frozen(self)


class Frozen:
    """Pictures to patch features; a plain object, so that no module that holds one counts its weights as its own.

    Where tensors are made without values (``shapes_only``), shapes alone are known and no file is needed.

    Attributes:
        channels: C.
        patch: P.
    """

    def __init__(self, config: FrozenConfig) -> None:
        self.config = config
        if not shapes_only():
            check_files(config)
        self.channels, self.patch = stated_sizes(config)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it untyped
    def __call__(self, x: Tensor, grid: Grid) -> Tensor:
        """x (B, 3, H, W) in [-1, 1], resized to P pixels for each position -> (B, C, *grid) float32, no gradient."""
        if not has_values(x):
            return x.new_empty((len(x), self.channels, *grid), dtype=torch.float32)
        loaded = load_frozen(self.config)
        loaded.network.to(x.device)
        region = half_precision if self.config.precision == "bf16" else full_precision
        with torch.no_grad(), region(x.device):
            sides = (grid[0] * self.patch, grid[1] * self.patch)
            pixels = x.detach().float()
            if tuple(pixels.shape[2:]) != sides:
                pixels = F.interpolate(pixels, size=sides, mode="bicubic", antialias=True)
            mean, std = (torch.tensor(value, device=x.device).view(1, 3, 1, 1) for value in loaded.norm)
            tokens = loaded.read((0.5 * (pixels + 1.0) - mean) / std)
            cells = grid[0] * grid[1]
            patches = tokens[:, -cells:].float()  # what comes before the patches tells of the whole picture
        return patches.transpose(1, 2).reshape(len(x), -1, *grid)

    def sha256(self) -> bytes:
        """Of its weights: what a tokenizer that is built on it remembers."""
        return bytes.fromhex(load_frozen(self.config).sha256)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with its weights.

    Attributes:
        read: normalised pictures (B, 3, H, W) -> tokens (B, N or more, C), the patches last.
        norm: mean and std of pixels in [0, 1].
        sha256: of the weights.
    """

    network: nn.Module
    read: Callable[[Tensor], Tensor]
    norm: tuple[Triple, Triple]
    sha256: str


@functools.lru_cache(maxsize=4)
def load_frozen(config: FrozenConfig) -> Loaded:
    """The network of a configuration, once for all who ask for it; in eval mode, without gradients.

    Raises:
        ValueError: if the files are missing or do not hold it.
    """
    check_files(config)
    loaded = LOADERS[config.library](config)
    loaded.network.eval().requires_grad_(False)
    return loaded


def _load_transformers(config: FrozenConfig) -> Loaded:
    from transformers import AutoModel

    assert config.folder is not None  # checked when it was opened
    model = AutoModel.from_pretrained(str(config.folder), local_files_only=True, use_safetensors=True)
    vision = getattr(model, "vision_model", model)
    accepts = inspect.signature(vision.forward).parameters
    options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepts else {}

    def read(x: Tensor) -> Tensor:
        out: Any = vision(pixel_values=x, output_hidden_states=config.layer is not None, **options)
        tokens: Tensor = out.last_hidden_state if config.layer is None else out.hidden_states[config.layer]
        return tokens

    return Loaded(vision, read, norm_of(config.folder), sha256_of(config.folder / WEIGHTS))


def _load_timm(config: FrozenConfig) -> Loaded:
    assert config.network is not None
    assert config.weights is not None
    network, stated = build_timm(config.network, dynamic_img_size=True)
    fill(network, config.weights, f"timm's {config.network}")
    model: Any = network  # timm's own methods, which nn.Module's type does not know

    def read(x: Tensor) -> Tensor:
        if config.layer is None:
            return model.forward_features(x)  # type: ignore[no-any-return]
        found = model.forward_intermediates(
            x, indices=[config.layer], output_fmt="NLC", intermediates_only=True
        )
        return found[0]  # type: ignore[no-any-return]

    return Loaded(network, read, (stated["mean"], stated["std"]), sha256_of(config.weights))


def _load_ours(config: FrozenConfig) -> Loaded:
    assert config.folder is not None
    tree = json.loads((config.folder / "config.json").read_text())
    network = PlainViTSize.parse(tree["size"]).build(tree["num_classes"])
    state = load_weights(config.folder / WEIGHTS)
    network.load_state_dict(state)
    return Loaded(network, network.features, (HALF, HALF), sha256_of(config.folder / WEIGHTS))


def _load_random(config: FrozenConfig) -> Loaded:
    assert config.channels is not None
    assert config.patch is not None
    size = PlainViTSize(width=config.channels, patch=config.patch, depth=config.depth, heads=config.heads)
    network = size.random(config.seed)
    return Loaded(
        network, network.features, (HALF, HALF), hashlib.sha256(config.to_json().encode()).hexdigest()
    )


LOADERS: dict[Library, Callable[[FrozenConfig], Loaded]] = {
    "transformers": _load_transformers,
    "timm": _load_timm,
    "ours": _load_ours,
    "random": _load_random,
}


def check_files(config: FrozenConfig) -> None:
    """ValueError where the files of a frozen encoder are not given or not there, with what to put where."""
    if config.library == "random":
        return
    if config.library == "timm":
        if config.network is None:
            raise ValueError("a frozen encoder of timm needs its name: give frozen.network=NAME")
        if config.weights is None or not config.weights.is_file():
            missing = "" if config.weights is None else f"; {config.weights} is missing"
            raise ValueError(
                f"the frozen encoder {config.network} needs a local file and downloads nothing: put model.safetensors "
                f"of huggingface.co/timm/{config.network} somewhere and give frozen.weights=FILE{missing}"
            )
        return
    wanted = ("config.json", WEIGHTS)
    if config.folder is not None and all((config.folder / name).is_file() for name in wanted):
        return
    missing = "" if config.folder is None else f"; {config.folder} lacks {' or '.join(wanted)}"
    if config.library == "ours":
        raise ValueError(
            "a frozen encoder of ours needs a folder: train it by python -m tokenizer.teacher data.path=PICTURES "
            f"out=FOLDER and give frozen.folder=FOLDER{missing}"
        )
    raise ValueError(
        "a frozen encoder needs a local folder and downloads nothing: put config.json and model.safetensors of the "
        "model (facebook/dinov2-base, google/siglip-base-patch16-224, openai/clip-vit-base-patch16 on huggingface.co) "
        f"into one and give frozen.folder=FOLDER{missing}"
    )


def stated_sizes(config: FrozenConfig) -> tuple[int, int]:
    """Channels and patch of a frozen encoder, from its files or, where there are none, from the configuration.

    Raises:
        ValueError: if neither says them, or they disagree.
    """
    found = _sizes_in_files(config)
    stated = (config.channels, config.patch)
    sizes = []
    for name, said, real in zip(("channels", "patch"), stated, found, strict=True):
        if said is None and real is None:
            where = config.folder or config.weights or "no place given"
            raise ValueError(
                f"frozen.{name} is not known without the encoder's files ({where}): put them there, or give {name}"
            )
        if said is not None and real is not None and said != real:
            raise ValueError(f"frozen.{name} is {real} in the encoder's files, not {said}")
        sizes.append(said or real or 0)
    return sizes[0], sizes[1]


def _sizes_in_files(config: FrozenConfig) -> tuple[int | None, int | None]:
    if config.library == "timm" and config.network is not None:
        with torch.device("meta"):
            network: Any = build_timm(config.network, dynamic_img_size=True)[0]
        if not hasattr(network, "patch_embed") or not hasattr(network, "embed_dim"):
            raise ValueError(f"timm's {config.network} is no vision transformer with patches: take another")
        return int(network.embed_dim), int(network.patch_embed.patch_size[0])
    if config.folder is None or not (config.folder / "config.json").is_file():
        return None, None
    tree = json.loads((config.folder / "config.json").read_text())
    if config.library == "ours":
        return int(tree["size"]["width"]), int(tree["size"]["patch"])
    tree = tree.get("vision_config", tree)
    return tree.get("hidden_size"), tree.get("patch_size")


def norm_of(folder: Path) -> tuple[Triple, Triple]:
    """Mean and std of pixels in [0, 1] that a folder of transformers was trained with."""
    file = folder / "preprocessor_config.json"
    if file.is_file():
        tree = json.loads(file.read_text())
        if "image_mean" in tree and "image_std" in tree:
            mean, std = (
                (float(r), float(g), float(b)) for r, g, b in (tree["image_mean"], tree["image_std"])
            )
            return mean, std
    kind = str(json.loads((folder / "config.json").read_text()).get("model_type", ""))
    known = [norm for name, norm in NORMS.items() if kind.startswith(name)]
    return known[0] if known else (IMAGENET_MEAN, IMAGENET_STD)


def shapes_only() -> bool:
    """Whether tensors made now have shapes and no values, as on the meta device: no file is read for them."""
    return not has_values(torch.empty(0))


def has_values(x: Tensor) -> bool:
    """Whether a tensor is more than its shape."""
    return not x.is_meta and type(x) in (Tensor, nn.Parameter)
