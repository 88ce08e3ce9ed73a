"""Vision transformers beside Inception that sets of pictures are compared in: DINOv2 and CLIP, from local files.

Sizes are read off the file's tensors; the networks are timm's, and so are the names that the tensors are brought to.
Sources: Oquab et al. 2023, DINOv2: Learning Robust Visual Features without Supervision, arXiv 2304.07193; Radford et
    al. 2021, Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020; as feature
    spaces: Stein et al. 2023, Exposing Flaws of Generative Model Evaluation Metrics, arXiv 2306.04675, and Jayasumana
    et al. 2024, Rethinking FID, arXiv 2401.09603.

Letters: B pictures, D width, E width of an embedding.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.features import full_float32
from eval.pixels import resized
from eval.weights import WeightsConfig, WeightsRecord, find, load, record

HEAD_WIDTH = 64
PATCH = 14
DINOV2_SIDE, CLIP_SIDE = 224, 336
DINOV2_SIZE = (1024, 24)  # width and depth of ViT-L/14, which the metric is of
CLIP_SIZE = (1024, 24)
_OFFSET = 0.1  # of the published network's own resize of positions: (16 + 0.1) / 37 instead of 16 / 37
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

DINOv2Resize = Literal["tensor_bicubic_224", "pil_bicubic_224"]


class Encoder:
    """Pictures -> embeddings in float32 without TF32; metrics of one job share it.

    Args:
        network: normalised pictures (B, 3, S, S) -> (B, E).
        prepare: uint8 pictures (B, 3, H, W) -> [0, 255] floats (B, 3, S, S).
        statistics: mean and standard deviation of each channel, of values in [0, 1].
        normalise: divide each embedding by its length.
    """

    def __init__(
        self,
        network: nn.Module,
        prepare: Callable[[Tensor], Tensor],
        statistics: tuple[tuple[float, ...], tuple[float, ...]],
        record: WeightsRecord,
        device: torch.device,
        *,
        normalise: bool = False,
    ) -> None:
        self.network = network.to(device, torch.float32).eval()
        self.network.requires_grad_(False)
        self.prepare = prepare
        self.record = record
        self.device = device
        self.normalise = normalise
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in statistics)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 pictures (B, 3, H, W) -> float32 (B, E) on the CPU.

        Raises:
            ValueError: for floats: these features are taken of bytes.
        """
        if pictures.dtype != torch.uint8:
            raise ValueError(f"these features are taken of uint8 pictures, got {pictures.dtype}")
        x = (self.prepare(pictures) / 255.0 - self._mean) / self._std
        with full_float32():
            made: Tensor = self.network(x.to(self.device)).cpu()
        return F.normalize(made, dim=1) if self.normalise else made


_LOADED: "WeakValueDictionary[tuple[WeightsRecord, str, str], Encoder]" = WeakValueDictionary()


def load_dinov2(
    config: WeightsConfig, device: torch.device, resize: DINOv2Resize = "tensor_bicubic_224"
) -> Encoder:
    """The class token of DINOv2 ViT-L/14 after its last norm, of pictures at 224.

    Raises:
        NotComputedError: naming the file or the package that is missing.
        ValueError: if the file holds another network.
    """
    return _shared("dinov2", config, device, resize, partial(_dinov2, resize=resize))


def load_clip(config: WeightsConfig, device: torch.device) -> Encoder:
    """The image embedding of CLIP ViT-L/14 at 336, of length 1; OpenAI's file, or transformers' layout.

    Raises:
        NotComputedError: naming the file or the package that is missing.
        ValueError: if the file holds another network.
    """
    return _shared("clip", config, device, "", _clip)


def _shared(
    name: Literal["dinov2", "clip"],
    config: WeightsConfig,
    device: torch.device,
    resize: str,
    build: Callable[[dict[str, Tensor], WeightsRecord, torch.device], Encoder],
) -> Encoder:
    found = record(name, find(name, config))
    if importlib.util.find_spec("timm") is None:
        raise NotComputedError("the package timm", "into this environment: pip install 'tessera[eval]'")
    key = (found, str(device), resize)
    if key not in _LOADED:
        tensors, found = load(name, config)
        _LOADED[key] = made = build(tensors, found, device)
        return made
    return _LOADED[key]


def _dinov2(
    tensors: dict[str, Tensor], found: WeightsRecord, device: torch.device, *, resize: DINOv2Resize
) -> Encoder:
    tensors = {name: value for name, value in tensors.items() if name != "mask_token"}
    if "pos_embed" not in tensors or "cls_token" not in tensors:
        raise ValueError(f"{found.file} does not hold DINOv2: pos_embed or cls_token is missing")
    tensors["pos_embed"] = positions_at(tensors["pos_embed"].float(), DINOV2_SIDE // PATCH)
    network = _transformer(tensors, found, DINOV2_SIDE, DINOV2_SIZE, init_values=1e-5, num_classes=0)
    return Encoder(network, _PREPARE[resize], _IMAGENET, found, device)


def positions_at(table: Tensor, side: int) -> Tensor:
    """Positions (1, 1 + N * N, D) for N x N patches -> (1, 1 + side * side, D), as DINOv2 resizes its own.

    Bicubic without antialiasing, by the scale (side + 0.1) / N: timm and transformers resize otherwise.
    """
    count = int((table.shape[1] - 1) ** 0.5)
    if count == side:
        return table
    grid = table[:, 1:].reshape(1, count, count, -1).permute(0, 3, 1, 2)  # (1, D, N, N)
    scale = (side + _OFFSET) / count
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    assert grid.shape[-2:] == (side, side)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)


def _clip(tensors: dict[str, Tensor], found: WeightsRecord, device: torch.device) -> Encoder:
    named = clip_names(tensors)
    if "cls_token" not in named or "head.weight" not in named:
        raise ValueError(f"{found.file} does not hold CLIP's image encoder")
    width = named["head.weight"].shape[0]
    network = _transformer(
        named,
        found,
        CLIP_SIDE,
        CLIP_SIZE,
        num_classes=width,
        pre_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        act_layer="quick_gelu",
    )
    return Encoder(network, _clip_side, _CLIP, found, device, normalise=True)


def clip_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder's tensors in float32 under timm's names, from OpenAI's names or transformers'."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for pattern, target in _CLIP_NAMES.items():
            if (found := re.fullmatch(pattern, name)) is not None:
                named[found.expand(target)] = value.float()
    for block in {name.rsplit(".", 2)[0] for name in named if name.endswith(".q.weight")}:
        for kind in ("weight", "bias"):
            parts = [named.pop(f"{block}.{part}.{kind}") for part in "qkv"]
            named[f"{block}.qkv.{kind}"] = torch.cat(parts)
    if "projection" in named:
        named["head.weight"] = named.pop("projection").T.contiguous()
    if "cls_token" in named and "head.weight" in named and "pos_embed" in named:
        named["cls_token"] = named["cls_token"].view(1, 1, -1)
        named["pos_embed"] = named["pos_embed"].unsqueeze(0)
        named["head.bias"] = torch.zeros(named["head.weight"].shape[0])
    return named


_CLIP_NAMES = {
    r"visual\.class_embedding": "cls_token",
    r"visual\.positional_embedding": "pos_embed",
    r"visual\.proj": "projection",
    r"visual\.conv1\.weight": "patch_embed.proj.weight",
    r"visual\.ln_pre\.(\w+)": r"norm_pre.\1",
    r"visual\.ln_post\.(\w+)": r"norm.\1",
    r"visual\.transformer\.resblocks\.(\d+)\.ln_([12])\.(\w+)": r"blocks.\1.norm\2.\3",
    r"visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)": r"blocks.\1.attn.qkv.\2",
    r"visual\.transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"visual\.transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)": r"blocks.\1.mlp.fc1.\2",
    r"visual\.transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)": r"blocks.\1.mlp.fc2.\2",
    r"vision_model\.embeddings\.class_embedding": "cls_token",
    r"vision_model\.embeddings\.position_embedding\.weight": "pos_embed",
    r"vision_model\.embeddings\.patch_embedding\.weight": "patch_embed.proj.weight",
    r"vision_model\.pre_layrnorm\.(\w+)": r"norm_pre.\1",
    r"vision_model\.post_layernorm\.(\w+)": r"norm.\1",
    r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(\w+)": r"blocks.\1.norm\2.\3",
    r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)": r"blocks.\1.attn.\2.\3",
    r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc([12])\.(\w+)": r"blocks.\1.mlp.fc\2.\3",
    r"visual_projection\.weight": "head.weight",
}


def _transformer(
    tensors: Mapping[str, Tensor],
    found: WeightsRecord,
    side: int,
    size: tuple[int, int],
    **more: Any,  # arguments of timm's network
) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    width = tensors["cls_token"].shape[-1]
    depth = 1 + max((int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")), default=-1)
    if (width, depth) != size:
        raise ValueError(
            f"{found.file} holds a transformer of width {width} and depth {depth}: "
            f"the metric is of {size[0]} and {size[1]}"
        )
    network: nn.Module = VisionTransformer(
        img_size=side,
        patch_size=PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=width // HEAD_WIDTH,
        **more,
    )
    try:
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise ValueError(f"{found.file} does not hold the network of this metric: {error}") from None
    return network


def _tensor_bicubic(pictures: Tensor) -> Tensor:
    size = (DINOV2_SIDE, DINOV2_SIDE)
    return F.interpolate(pictures.float(), size=size, mode="bicubic", antialias=True)


def _pil_bicubic(pictures: Tensor) -> Tensor:
    return resized(pictures.cpu(), DINOV2_SIDE, Image.Resampling.BICUBIC).float()


def _clip_side(pictures: Tensor) -> Tensor:
    return resized(pictures.cpu(), CLIP_SIDE, Image.Resampling.BICUBIC).float()


_PREPARE: dict[DINOv2Resize, Callable[[Tensor], Tensor]] = {
    "tensor_bicubic_224": _tensor_bicubic,
    "pil_bicubic_224": _pil_bicubic,
}
