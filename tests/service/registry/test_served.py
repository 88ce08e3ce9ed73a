"""What a request may ask of a model: labels, prompts, sizes, guidance."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import InvalidParameter, TooManyPixels, UnknownLabel, WrongSize
from service.registry import Condition, ServedGenerator, check_padded, codes_of
from tokenizer.spec import LatentSpec

CLASSES = ServedGenerator(
    name="shapes",
    path=Path("shapes"),
    spec_id="0" * 16,
    tokenizer="tiny",
    class_names=("circle", "square, box", "star"),
    sizes=((32, 32),),
    num_steps=3,
    guidance=2.5,
    licence=None,
    figures=None,
    weights_bytes=1,
)
TEXTS = replace(
    CLASSES,
    name="sana",
    tokenizer=None,
    class_names=(),
    conditioning="text",
    pipeline="SanaPipeline",
    size_multiple=32,
    takes=frozenset({"negative_prompt"}),
)


def test_labels_by_index_and_name() -> None:
    assert [CLASSES.label(name) for name in CLASSES.class_names] == [0, 1, 2]
    assert [CLASSES.label(name) for name in ("square", "box")] == [1, 1]
    assert CLASSES.label(2) == 2
    for label in (3, -1, "circl", "", ","):
        with pytest.raises(UnknownLabel, match="circle, square, box, star"):
            CLASSES.label(label)


def test_a_class_conditional_model_takes_a_label_and_nothing_else() -> None:
    assert CLASSES.condition("star") == Condition(2, None, None)
    for arguments, param in (
        ((None, None, None), "label"),
        ((0, "a cat", None), "prompt"),
        ((None, "a cat", None), "prompt"),
        ((0, None, "blurred"), "negative_prompt"),
    ):
        with pytest.raises(InvalidParameter, match="makes classes") as refusal:
            CLASSES.condition(*arguments)
        assert refusal.value.param == param


def test_a_text_conditional_model_takes_a_prompt_and_no_label() -> None:
    assert TEXTS.condition(None, "a cat", "blurred") == Condition(None, "a cat", "blurred")
    assert TEXTS.condition(None, "") == Condition(None, "", None)
    plain = replace(TEXTS, takes=frozenset())
    for model, arguments, param in (
        (TEXTS, (None, None, None), "prompt"),
        (TEXTS, (0, "a cat", None), "label"),
        (plain, (None, "a cat", "blurred"), "negative_prompt"),
    ):
        with pytest.raises(InvalidParameter) as refusal:
            model.condition(*arguments)
        assert refusal.value.param == param


def test_sizes_that_cannot_be_made_list_those_that_can() -> None:
    assert CLASSES.size(None) == CLASSES.size((32, 32)) == (32, 32)
    with pytest.raises(WrongSize, match=r"\[32, 32\]") as refusal:
        CLASSES.size((64, 64))
    assert refusal.value.details == {"sizes": [[32, 32]]}


def test_multiples_are_sizes_of_a_pipeline() -> None:
    assert TEXTS.size((64, 96)) == (64, 96)
    for size in ((64, 65), (0, 32), (-32, 32), (2**20, 32)):
        with pytest.raises(WrongSize, match="multiples of 32") as refusal:
            TEXTS.size(size)
        assert refusal.value.details["size_multiple"] == 32


def test_guidance_is_the_models_own_or_refused() -> None:
    assert CLASSES.checked_guidance(None) == 2.5
    assert CLASSES.checked_guidance(4.0) == 4.0
    assert TEXTS.checked_guidance(None) == 2.5
    with pytest.raises(InvalidParameter, match="no guidance"):
        TEXTS.checked_guidance(4.0)


def test_padding_counts() -> None:
    spec = LatentSpec.image(4, 32)
    assert check_padded(spec, (33, 32), 64 * 32) == 64 * 32
    with pytest.raises(TooManyPixels, match="after padding"):
        check_padded(spec, (1, 1000), 1000)


def test_codes_are_told_where_there_are_any() -> None:
    assert codes_of(LatentSpec.image(4, 8)) is None
    codes = codes_of(LatentSpec.image(4, 8, codebook_size=2**17))
    assert codes is not None
    assert (codes["index_dtype"], codes["bits_per_index"]) == ("uint32", 17.0)
