"""The protocols for video: pinned, all different, documented, and their mended copies differ in the defect alone."""

import inspect

import pytest

from eval.protocols.__main__ import card, main
from eval.protocols.video import VIDEO_PROTOCOLS, video_protocol

PINNED = {
    "streaming": "e5250b42d185",
    "magvit-ucf": "8536b0fac480",
    "magvit-ucf-fixed": "6fb6d2138b86",
    "tokenbench": "134288a08d63",
    "tokenbench-fixed": "a779e814175c",
    "vidtok": "32a2bdb465f1",
    "wfvae": "5d1247822035",
    "wfvae-fixed": "68684da348b8",
}


def test_a_protocol_with_a_name_is_never_changed() -> None:
    assert {name: video_protocol(name).hash for name in VIDEO_PROTOCOLS} == PINNED


def test_all_are_different_and_carry_their_name() -> None:
    assert len(set(PINNED.values())) == len(VIDEO_PROTOCOLS)
    for name in VIDEO_PROTOCOLS:
        assert video_protocol(name).name == name


def test_size_and_length_belong_to_the_hash() -> None:
    assert video_protocol("vidtok").resolution == 256
    assert video_protocol("vidtok").frames == 17
    assert video_protocol("vidtok", 128).hash != video_protocol("vidtok").hash
    assert video_protocol("vidtok", on_corrupt="skip").hash != video_protocol("vidtok").hash


@pytest.mark.parametrize("name", [name for name in VIDEO_PROTOCOLS if name.endswith("-fixed")])
def test_fixed_ones_mend_only_the_defect(name: str) -> None:
    fixed, original = video_protocol(name), video_protocol(name.removesuffix("-fixed"))
    changed = {key for key in type(fixed).model_fields if getattr(fixed, key) != getattr(original, key)}
    assert changed - {"name"}
    assert changed <= {"name", "psnr", "fvd", "through"}


@pytest.mark.parametrize(
    "name", [name for name in VIDEO_PROTOCOLS if not name.endswith("-fixed") and name != "streaming"]
)
def test_each_says_where_it_comes_from(name: str) -> None:
    about = inspect.getdoc(VIDEO_PROTOCOLS[name]) or ""
    assert "arXiv" in about
    assert "Departures" in about


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match="tokenbench-fixed"):
        video_protocol("vidtock")
    with pytest.raises(ValueError, match="at least 16"):
        video_protocol("vidtok", 8)


def test_command_lists_and_shows(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    listed = capsys.readouterr().out
    assert all(name in listed for name in VIDEO_PROTOCOLS)
    main(["vidtok", "128"])
    assert capsys.readouterr().out == card("vidtok", 128)
    assert "ssim.frame.data_range = 1.0" in card("vidtok", 128)
    assert "the size of the frames" in card("streaming")
