"""Two pictures in one place, told apart by moving the mouse, without a script; and where they differ.

Letters: H W rows and columns.
"""

import torch
from torch import Tensor

STRIPS = 40
WHITE_AT = 64.0
# black, violet, red, orange, yellow, white: lightness rises all the way
_RAMP = ((0, 0, 0), (66, 12, 92), (160, 30, 74), (226, 90, 34), (250, 190, 60), (255, 255, 255))


def heat(real: Tensor, fake: Tensor, white_at: float = WHITE_AT) -> Tensor:
    """Mean absolute error of the three channels as a colour: uint8 (3, H, W) twice -> uint8 (3, H, W).

    Black is equal; white is ``white_at`` grey levels or more.
    """
    error = (fake.float() - real.float()).abs().mean(dim=0) / white_at
    place = error.clamp(0.0, 1.0) * (len(_RAMP) - 1)
    lower = place.floor().long().clamp_max(len(_RAMP) - 2)
    share = (place - lower).unsqueeze(-1)
    ramp = torch.tensor(_RAMP, dtype=torch.float32, device=error.device)
    colours = ramp[lower] * (1.0 - share) + ramp[lower + 1] * share  # (H, W, 3)
    return colours.round().to(torch.uint8).permute(2, 0, 1).contiguous()


def wipe(left: str, right: str) -> str:
    """Two images of one size as HTML: left of the mouse the first is seen, right of it the second."""
    return f'<span class="wipe">{"<i></i>" * STRIPS}{left}<span class="over">{right}</span><b></b></span>'


def style() -> str:
    """The rules that make it move: thin strips lie over the pictures, the one under the mouse sets the border, and
    where it leaves them the border stays, because the way back takes eleven days.
    """
    rules = [
        ".wipe { position: relative; display: block; cursor: ew-resize; }",
        ".wipe i { position: absolute; top: 0; bottom: 0; z-index: 1; }",
        f".wipe i {{ width: {100 / STRIPS:g}%; }}",
        ".wipe .over { position: absolute; inset: 0; clip-path: inset(0 0 0 50%); }",
        ".wipe .over { transition: clip-path 0s 1000000s; }",
        ".wipe b { position: absolute; top: 0; bottom: 0; left: 50%; width: 2px; margin-left: -1px; }",
        ".wipe b { background: #fff; box-shadow: 0 0 3px #000; transition: left 0s 1000000s; }",
        ".wipe i:hover ~ .over, .wipe i:hover ~ b { transition: none; }",
    ]
    for number in range(STRIPS):
        first, middle = 100 * number / STRIPS, 100 * number / (STRIPS - 1)
        strip = f".wipe i:nth-child({number + 1})"
        rules += [
            f"{strip} {{ left: {first:g}%; }}",
            f"{strip}:hover ~ .over {{ clip-path: inset(0 0 0 {middle:.4g}%); }}",
            f"{strip}:hover ~ b {{ left: {middle:.4g}%; }}",
        ]
    return "\n".join(rules) + "\n"
