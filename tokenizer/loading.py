"""``load``: any tokenizer by name or folder."""

from pathlib import Path

import torch

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.model import Autoencoder, Tokenizer
from tokenizer.projection import Projection
from tokenizer.spec import LatentSpec

BUNDLED = Path(__file__).parent / "bundled"


def bundled() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(folder.name for folder in BUNDLED.glob("*") if (folder / checkpoint.CONFIG).is_file())


def load(source: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Autoencoder:
    """A tokenizer ready for inference: averaged weights where there are some, eval mode, no gradients.

    Args:
        source: one of our model folders, a run folder (its latest checkpoint), a diffusers folder, ``hf:org/name``
            (downloads; for the command line), or the name of a bundled model.
        device: where the weights go.
        dtype: of the weights.

    Raises:
        ValueError: if there is no such tokenizer, or its files are damaged; the message says which.
    """
    model = _load(source)
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


def connect(source: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tokenizer:
    """A tokenizer for encoding and decoding only: as ``load``, or ``http://host:port#model`` of a running server.

    Args:
        source: as for ``load``, or the address of a server; its key comes from the environment's TESSERA_API_KEY.
        device, dtype: of the weights, where they are loaded here.

    Raises:
        ValueError: if there is no such tokenizer.
    """
    from tokenizer.adapters.remote import RemoteTokenizer, is_remote

    return RemoteTokenizer(str(source)) if is_remote(source) else load(source, device=device, dtype=dtype)


def find(source: str | Path) -> Path:
    """The folder of a source as ``load`` takes it: ours (verified) or diffusers'.

    Raises:
        ValueError: if there is no such tokenizer, or its files are damaged.
    """
    text = str(source)
    if text.startswith("hf:"):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(text[3:], allow_patterns=["*.json", "*.safetensors"]))
    if text.startswith(("http://", "https://")):
        raise ValueError(f"{text} is a server, and this needs the weights: give the model's folder")
    path = Path(source)
    if not path.exists() and text in bundled():
        path = BUNDLED / text
    if not path.is_dir():
        names = ", ".join(bundled()) or "none"
        raise ValueError(f"no tokenizer {text!r}: it is neither a folder nor a bundled model ({names})")
    folder = checkpoint.resolve(path)
    config = checkpoint.read_config(folder)
    if "_class_name" not in config:
        if config.get("kind") != "tokenizer":
            raise ValueError(f"{folder} holds a {config.get('kind')!r}, not a tokenizer")
        checkpoint.verify(folder)
    return folder


def _load(source: str | Path) -> Autoencoder:
    folder = find(source)
    if "_class_name" in checkpoint.read_config(folder):
        from tokenizer.adapters.diffusers import load_diffusers

        return load_diffusers(folder)
    return load_folder(folder)


def config_of(source: str | Path) -> TokenizerConfig:
    """What the tokenizer at a source is made of."""
    config = checkpoint.read_config(find(source))
    if "_class_name" in config:
        from tokenizer.adapters.diffusers import diffusers_config

        return diffusers_config(config)[0]
    return TokenizerConfig.parse(config["model"])


def load_folder(folder: Path, *, averaged: bool = True) -> Autoencoder:
    """The autoencoder in one of our folders, in training mode on the CPU in float32.

    Args:
        folder: a model folder.
        averaged: take the average of the weights where there is one.
    """
    config = checkpoint.read_config(folder)
    parts = TokenizerConfig.parse(config["model"])
    with torch.device("meta"):
        model = parts.build()
    file = checkpoint.weights_path(folder) if averaged else folder / "model.safetensors"
    state = {
        name: value.float() if value.is_floating_point() else value
        for name, value in checkpoint.load_tensors(file).items()
    }
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{file} does not fit the model in {folder / checkpoint.CONFIG}: {error}") from None
    make_constants(model, parts)
    model.requires_grad_(True)
    model.spec = LatentSpec.parse(config["spec"])
    model.spec_id = spec_id_of(folder)
    if config.get("projection") is not None:
        model.projection = Projection.parse(config["projection"])
    return model


def make_constants(model: Autoencoder, parts: TokenizerConfig) -> None:
    """Give a model that was built without memory its buffers that no file holds: constants such as the levels of FSQ.

    The model is built once more for them where it has some; no random state outside moves.
    """
    missing = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if not missing:
        return
    with torch.random.fork_rng(devices=[]):
        whole = parts.build()
    for name in missing:
        module, _, leaf = name.rpartition(".")
        model.get_submodule(module).register_buffer(leaf, whole.get_buffer(name), persistent=False)


def spec_id_of(folder: Path) -> str:
    """Identity of the latent space of one of our folders, from its manifest and configuration; reads no weights."""
    spec = LatentSpec.parse(checkpoint.read_config(folder)["spec"])
    return spec.spec_id(checkpoint.weights_sha256(folder))
