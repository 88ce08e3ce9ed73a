"""The published protocols: pinned, all different, documented, and faithful where their code was read."""

import inspect

import pytest

from eval.protocols import PROTOCOLS, protocol
from eval.protocols.__main__ import card, main

PINNED = {
    "canon-v1": "3a4ca2a9e368",
    "adm-gfid": "6af22659d44e",
    "bsq": "7b28c3f38acf",
    "bsq-fixed": "f27cd3dbe822",
    "clean-fid": "b9b9ebde5d81",
    "dc-ae": "da08838d6b51",
    "edm2": "ba432e0e71d4",
    "ifid": "021a9ae2b428",
    "ldm": "83a6519c6b15",
    "llamagen": "9fbcaa2d20ca",
    "llamagen-fixed": "5d1d2dd8120b",
    "open-magvit2": "bbd6e7e8090a",
    "open-magvit2-fixed": "0ce71143b218",
    "rae": "a8e58de630b6",
    "titok": "4134a2d35ef3",
    "titok-fixed": "0553df48d8d1",
    "vavae": "a454813ea959",
    "vavae-fixed": "adc997660279",
    "vtbench": "66c2ee52edd7",
    "vtbench-fixed": "5485fd6e6326",
}


def test_a_protocol_with_a_name_is_never_changed() -> None:
    assert {name: protocol(name, 256).hash for name in PROTOCOLS} == PINNED


def test_all_are_different_and_carry_their_name() -> None:
    assert len(set(PINNED.values())) == len(PROTOCOLS)
    for name in PROTOCOLS:
        assert protocol(name, 256).name == name


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name.endswith("-fixed")])
def test_fixed_ones_mend_only_the_defect(name: str) -> None:
    fixed, original = protocol(name, 256), protocol(name.removesuffix("-fixed"), 256)
    assert fixed.shares_pass(original)
    assert fixed.reconstruction == original.reconstruction
    changed = {key for key in type(fixed).model_fields if getattr(fixed, key) != getattr(original, key)}
    assert changed - {"name"} <= {"psnr", "ssim", "ms_ssim", "lpips", "fid", "quantization", "text"}
    assert changed - {"name"}


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if not name.endswith("-fixed")])
def test_each_says_where_it_comes_from(name: str) -> None:
    about = inspect.getdoc(PROTOCOLS[name]) or ""
    assert "Source" in about
    assert "arXiv" in about


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match="canon-v1"):
        protocol("canon", 128)
    with pytest.raises(ValueError, match="at least 16"):
        protocol("canon-v1", 8)


def test_command_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    listed = capsys.readouterr().out
    assert all(name in listed for name in PROTOCOLS)
    main(["vavae", "128"])
    assert capsys.readouterr().out == card("vavae", 128)
    assert protocol("vavae", 128).hash in card("vavae", 128)
    assert "ssim.low = -1.0" in card("vavae", 128)
    with pytest.raises(SystemExit):
        main(["vavea"])
