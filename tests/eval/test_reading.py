"""Readers: RapidOCR reads what was drawn, Gemma is asked as VTBench asks it, and both read a batch once."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from eval import reading
from eval.errors import NotComputedError
from eval.protocols.settings import TextSettings
from eval.reading import Gemma, TextReader, load_reader
from eval.weights import WeightsConfig

CPU = torch.device("cpu")


def drawn(text: str, width: int = 160, height: int = 128) -> Tensor:
    """Black on white, as uint8 (3, H, W)."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((12, 40), text, fill="black", font=ImageFont.load_default(36))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_rapidocr_reads_from_the_files_of_its_package() -> None:
    pytest.importorskip("rapidocr", reason="needs the extra fidelity")
    pytest.importorskip("onnxruntime", reason="needs the extra fidelity")
    reader = load_reader(TextSettings(), WeightsConfig(), CPU)
    assert all(record.verified for record in reader.records)
    assert reader(drawn("Sale 42").unsqueeze(0))[0].replace(" ", "") == "Sale42"
    assert load_reader(TextSettings(), WeightsConfig(), CPU) is reader


def test_a_batch_is_read_once_and_at_the_side_asked_for() -> None:
    seen: list[tuple[int, int]] = []
    reader = TextReader(lambda picture: seen.append(picture.size) or "text", (), side=96)
    real, fake = (torch.zeros(2, 3, 32, 32, dtype=torch.uint8) for _ in range(2))
    for _ in range(3):
        assert reader(real) == ("text", "text")
        reader(fake)
    assert seen == [(96, 96)] * 4


def test_packages_and_files_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NotComputedError, match="gemma-3-12b-it.*weights.gemma=FOLDER"):
        load_reader(TextSettings(reader="gemma"), WeightsConfig(), CPU)
    with pytest.raises(ValueError, match="no safetensors"):
        load_reader(TextSettings(reader="gemma"), WeightsConfig(gemma=tmp_path), CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(reading, "_LOADED", {})
    with pytest.raises(NotComputedError, match="rapidocr and onnxruntime.*fidelity"):
        load_reader(TextSettings(), WeightsConfig(), CPU)


class Processor:
    """What transformers' processor is asked: it remembers the question, and decodes numbers to letters."""

    def apply_chat_template(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        assert add_generation_prompt
        (self.message,) = messages
        return "prompt"

    def __call__(self, *, text: str, images: list[Image.Image], return_tensors: str) -> Any:
        assert (text, return_tensors) == ("prompt", "pt")
        self.size = images[0].size
        inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
        return SimpleNamespace(to=lambda device: inputs)

    def batch_decode(self, ids: Tensor, *, skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return ["".join(chr(int(number)) for number in row) for row in ids]


class Model(torch.nn.Module):
    """A model that answers "hi" whatever it is shown."""

    def generate(self, input_ids: Tensor, max_new_tokens: int, do_sample: bool) -> Tensor:
        assert not do_sample  # the same answer twice
        assert max_new_tokens == 1024
        return torch.cat([input_ids, torch.tensor([[ord("h"), ord("i")]])], dim=1)


def test_gemma_is_asked_vtbenchs_question_about_an_enlarged_picture() -> None:
    processor = Processor()
    reader = TextReader(Gemma(Model(), processor, CPU), (), side=1024)
    assert reader(torch.zeros(1, 3, 256, 256, dtype=torch.uint8)) == ("hi",)  # without the prompt's own words
    assert processor.size == (1024, 1024)
    kinds = [part["type"] for part in processor.message["content"]]
    assert kinds == ["image", "text"]
    assert processor.message["content"][1]["text"].startswith("Extract and output only the text")
