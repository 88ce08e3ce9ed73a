"""Where pictures differ, as colours, and two of them in one place without a script."""

import re

import torch

from eval.wipe import STRIPS, heat, style, wipe


def test_equal_is_black_far_is_white_and_lightness_rises_between() -> None:
    real = torch.full((3, 1, 65), 100, dtype=torch.uint8)
    fake = real + torch.arange(65, dtype=torch.uint8)
    colours = heat(real, fake)
    assert colours.shape == real.shape
    assert colours[:, 0, 0].tolist() == [0, 0, 0]
    assert colours[:, 0, 64].tolist() == [255, 255, 255]
    luma = (colours.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=0)[0]
    assert bool((luma[1:] >= luma[:-1] - 1e-9).all())


def test_the_sign_and_the_channel_do_not_matter() -> None:
    real = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    red, blue = real.clone(), real.clone()
    red[0] += 30
    blue[2] -= 30
    assert torch.equal(heat(real, red), heat(real, blue))
    assert torch.equal(heat(real, red)[:, 0, 0], heat(real, real + 10)[:, 0, 0])


def test_every_strip_has_its_rules_and_nothing_is_fetched() -> None:
    html, rules = wipe('<img alt="a">', '<img alt="b">'), style()
    assert html.count("<i></i>") == STRIPS
    assert html.index('alt="a"') < html.index('class="over"') < html.index('alt="b"')
    assert len(re.findall(r"nth-child\(\d+\) \{ left", rules)) == STRIPS
    assert "hover ~ .over { clip-path: inset(0 0 0 0%); }" in rules
    assert "hover ~ .over { clip-path: inset(0 0 0 100%); }" in rules
    assert "url(" not in rules
    assert "<script" not in html
