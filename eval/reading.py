"""Reading the text in pictures: RapidOCR with the models that its package brings, or Gemma 3 from a local folder.

Letters: B pictures, H W rows and columns.
"""

import hashlib
import importlib.util
from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from PIL import Image
from torch import Tensor

from eval.errors import NotComputedError
from eval.protocols.settings import TextSettings
from eval.weights import WeightsConfig, WeightsRecord
from tokenizer.core.checkpoint import sha256_of
from tokenizer.data.transforms import as_bytes

# of the models in rapidocr 3.10.0, by its own list
_RAPIDOCR_SHA256 = {
    "Det": ("PP-OCRv6_det_small.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"),
    "Cls": (
        "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
    "Rec": ("PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"),
}
# what VTBench asks of the model: its evaluations/ocr.py; another sentence would be another metric
_QUESTION = (
    "Extract and output only the text from the image in its original language. "
    "If there is no text, return nothing."
)
_MOST_TOKENS = 1024


class _Engine(Protocol):
    """One picture (H, W, 3) uint8 -> its text."""

    @abstractmethod
    def __call__(self, picture: Image.Image) -> str: ...


class TextReader:
    """Pictures -> their texts; metrics of one job share it, and the last two batches' texts with it.

    Args:
        engine: an RGB picture -> its text, lines in reading order.
        records: the files it was read from.
        side: pictures are resized to it by PIL's bicubic filter first; none: read as they are.
    """

    def __init__(self, engine: _Engine, records: tuple[WeightsRecord, ...], side: int | None) -> None:
        self.engine = engine
        self.records = records
        self.side = side
        self._recent: list[tuple[Tensor, tuple[str, ...]]] = []

    def __call__(self, pictures: Tensor) -> tuple[str, ...]:
        """The texts of uint8 pictures (B, 3, H, W)."""
        for seen, texts in self._recent:
            if seen is pictures:
                return texts
        texts = tuple(self.engine(self._picture(data)) for data in pictures.cpu())
        self._recent = [*self._recent[-1:], (pictures, texts)]
        return texts

    def _picture(self, data: Tensor) -> Image.Image:
        image = Image.fromarray(data.permute(1, 2, 0).contiguous().numpy())
        return image if self.side is None else image.resize((self.side, self.side), Image.Resampling.BICUBIC)


_LOADED: "WeakValueDictionary[tuple[str, ...], TextReader]" = WeakValueDictionary()


def load_reader(settings: TextSettings, weights: WeightsConfig, device: torch.device) -> TextReader:
    """The reader that a protocol names; one in a process.

    Raises:
        NotComputedError: naming what is missing and where to put it.
    """
    key = (settings.reader, str(settings.side), str(weights.gemma), str(device))
    if key in _LOADED:
        return _LOADED[key]
    if settings.reader == "gemma":
        made = _gemma(weights, device, settings.side)
    else:
        made = TextReader(*_rapidocr(), settings.side)
    _LOADED[key] = made
    return made


class _RapidOCR:
    def __init__(self, paths: dict[str, Path]) -> None:
        from rapidocr import RapidOCR

        threads = torch.get_num_threads()
        # paths are given one by one: what lies nowhere is then never fetched
        self._engine = RapidOCR(
            params={
                "Global.log_level": "error",
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                **{f"{part}.model_path": str(path) for part, path in paths.items()},
            }
        )

    def __call__(self, picture: Image.Image) -> str:
        found: Any = self._engine(as_bytes(picture).numpy()[:, :, ::-1].copy())  # BGR, as OpenCV reads
        return "\n".join(found.txts or ())


def _rapidocr() -> tuple[_RapidOCR, tuple[WeightsRecord, ...]]:
    if any(importlib.util.find_spec(name) is None for name in ("rapidocr", "onnxruntime")):
        raise NotComputedError(
            "the packages rapidocr and onnxruntime", "into this environment: pip install 'tessera[fidelity]'"
        )
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    paths, records = {}, []
    for part, (file, known) in _RAPIDOCR_SHA256.items():
        path = folder / file
        if not path.is_file():
            raise NotComputedError(f"{file}, as rapidocr 3.10.0 brings it", "with rapidocr==3.10.0")
        digest = sha256_of(path)
        paths[part] = path
        records.append(WeightsRecord(f"rapidocr_{part.lower()}", file, digest, digest == known))
    return _RapidOCR(paths), tuple(records)


class Gemma:
    """A vision-language model asked VTBench's question, answering with the likeliest words."""

    def __init__(
        self, model: Any, processor: Any, device: torch.device
    ) -> None:  # transformers has no narrower types
        self.model = model.to(device).eval()
        self.processor = processor
        self.device = device

    @torch.inference_mode()
    def __call__(self, picture: Image.Image) -> str:
        """The text that the model answers with."""
        question = [{"type": "image"}, {"type": "text", "text": _QUESTION}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True
        )
        inputs = self.processor(text=prompt, images=[picture], return_tensors="pt").to(self.device)
        made = self.model.generate(**inputs, max_new_tokens=_MOST_TOKENS, do_sample=False)
        answer: str = self.processor.batch_decode(
            made[:, inputs["input_ids"].shape[-1] :], skip_special_tokens=True
        )[0]
        return answer


def _gemma(weights: WeightsConfig, device: torch.device, side: int | None) -> TextReader:
    folder = weights.gemma
    if folder is None:
        raise NotComputedError(
            "google/gemma-3-12b-it as a folder of transformers",
            "anywhere, and give it as weights.gemma=FOLDER",
        )
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"weights.gemma={folder}: no safetensors in it")
    if importlib.util.find_spec("transformers") is None:
        raise NotComputedError("the package transformers", "here: pip install 'tessera[pipelines]'")
    from transformers import AutoModelForImageTextToText, AutoProcessor

    digest = hashlib.sha256("".join(sha256_of(path) for path in files).encode()).hexdigest()
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.bfloat16, local_files_only=True, use_safetensors=True
    )
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]  # theirs
    # nobody published a hash over all of its files
    record = WeightsRecord("gemma", folder.name, digest, verified=False)
    return TextReader(Gemma(model, processor, device), (record,), side)
