"""Pictures and videos are told apart by what their files are called."""

from tokenizer.data.kind import PICTURES, VIDEOS


def test_no_file_is_both() -> None:
    assert not PICTURES.suffixes & VIDEOS.suffixes
    assert PICTURES.index != VIDEOS.index
    assert str(VIDEOS).startswith("videos (.gif, ")
