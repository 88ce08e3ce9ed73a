"""Buckets keep the number of pixels and the aspect as nearly as the factor allows."""

import pytest

from tokenizer.data.aspects import bucket_size, nearest_size, parse_aspect


def test_sizes_of_an_aspect() -> None:
    assert bucket_size(1.0, 256, 32) == (256, 256)
    assert bucket_size(parse_aspect("16:9"), 256, 32) == (192, 352)
    assert bucket_size(parse_aspect("9:16"), 256, 32) == (352, 192)
    for aspect in (0.2, 0.7, 1.4, 3.0):
        height, width = bucket_size(aspect, 512, 16)
        assert height % 16 == width % 16 == 0
        assert height * width == pytest.approx(512**2, rel=0.06)
        assert width / height == pytest.approx(aspect, rel=0.06)


def test_the_nearest_is_a_matter_of_ratio() -> None:
    sizes = [(256, 256), (192, 352), (352, 192)]
    assert [nearest_size(size, sizes) for size in ((720, 1280), (1280, 720), (500, 600), (9, 9))] == [
        1,
        2,
        0,
        0,
    ]


@pytest.mark.parametrize("text", ["", "16/9", "0:1", "1:9", "a:b", "16:9 "])
def test_what_is_no_aspect(text: str) -> None:
    with pytest.raises(ValueError, match="width:height"):
        parse_aspect(text)
