"""Laws of a latent's description: sizes, rate, normalisation, identity."""

import itertools
import json
import math
import random
import subprocess
import sys
from typing import Any

import pytest
import torch

from tokenizer.spec import Latent, LatentSpec, PartSpec, scale_grids

VIDEO = LatentSpec.parse(
    {
        "parts": [{"layout": "3d", "channels": 16, "spatial_factor": 8, "temporal_factor": 4}],
        "time": "causal",
        "first_frame_alone": True,
    }
)
SEVERAL = LatentSpec.parse(
    {
        "parts": [
            {"name": "structure", "channels": 4, "spatial_factor": 8},
            {"name": "detail", "channels": 2, "spatial_factor": 12},
            {"name": "tokens", "layout": "1d", "channels": 12, "num_tokens": [32, 128]},
        ]
    }
)


@pytest.mark.parametrize("factor", [1, 8, 16, 32, 64, 128])
def test_the_padded_size_is_the_smallest_multiple_that_holds_the_picture(factor: int) -> None:
    spec = LatentSpec.image(4, factor)
    draw = random.Random(factor)
    for _ in range(50):
        size = (draw.randint(1, 5 * factor), draw.randint(1, 5 * factor))
        padded = spec.padded(size)
        for side, grown in zip(size, padded, strict=True):
            assert grown % factor == 0
            assert side <= grown < side + factor
        assert spec.padded(padded) == padded
        assert spec.shape(size) == {"z": (4, padded[0] // factor, padded[1] // factor)}


@pytest.mark.parametrize("frames", range(1, 20))
def test_a_lone_first_frame_makes_one_latent_of_its_own(frames: int) -> None:
    padded = VIDEO.padded((frames, 30, 33))
    assert padded[1:] == (32, 40)
    assert (padded[0] - 1) % 4 == 0
    assert frames <= padded[0] < frames + 4
    assert VIDEO.shape((frames, 30, 33)) == {"z": (16, 1 + (padded[0] - 1) // 4, 4, 5)}


def test_without_a_lone_first_frame_time_divides_like_space() -> None:
    spec = VIDEO.model_copy(update={"first_frame_alone": False})
    assert spec.padded((9, 8, 8)) == (12, 8, 8)
    assert spec.shape((9, 8, 8)) == {"z": (16, 3, 1, 1)}


def test_parts_share_one_padding_and_keep_their_own_shapes() -> None:
    assert SEVERAL.padded((30, 24)) == (48, 24)  # lcm(8, 12) = 24
    assert SEVERAL.shape((30, 24)) == {"structure": (4, 6, 3), "detail": (2, 4, 2), "tokens": (12, 128)}
    assert SEVERAL.part("detail").channels == 2
    with pytest.raises(ValueError, match="no part 'colour': this latent has structure, detail, tokens"):
        SEVERAL.part("colour")
    with pytest.raises(ValueError, match="name one"):
        _ = SEVERAL.z


def test_bits_of_a_continuous_latent_are_values_times_width() -> None:
    spec = LatentSpec.image(32, 32)
    assert spec.bits((256, 256)) == 8 * 8 * 32 * 16
    assert spec.bits((256, 256), bits_per_value=8) == 8 * 8 * 32 * 8
    assert spec.bits((250, 241)) == spec.bits((256, 256))  # the padding is sent too


def test_bits_of_codes_are_log2_of_the_codebook_per_position() -> None:
    assert LatentSpec.image(8, 16, codebook_size=16384).bits((256, 256)) == 256 * 14
    assert LatentSpec.image(8, 16, codebook_size=64000).bits((64, 64)) == pytest.approx(16 * math.log2(64000))
    assert LatentSpec.image(8, 16, codebook_size=1024, num_codebooks=4).bits((64, 64)) == 16 * 40


def test_indices_lie_on_the_grid_on_several_grids_or_scale_by_scale() -> None:
    def part(**codes: Any) -> PartSpec:
        return LatentSpec.image(4, 16, **codes).z

    assert part(codebook_size=1024).index_shape((64, 90)) == (4, 6)
    assert part(codebook_size=1024, num_codebooks=3).index_shape((64, 90)) == (3, 4, 6)
    scales = (1, 2, 4)
    assert part(codebook_size=1024, scales=scales).index_shape((64, 64)) == (1 + 4 + 16,)
    assert part(codebook_size=1024, scales=scales).index_shape((64, 90)) == (1 * 2 + 2 * 3 + 4 * 6,)
    assert scale_grids(scales, (4, 6)) == [(1, 2), (2, 3), (4, 6)]
    assert LatentSpec.image(4, 16, codebook_size=256, scales=scales).bits((64, 64)) == 21 * 8
    with pytest.raises(ValueError, match="continuous; it has no indices"):
        part().index_shape((64, 64))


def test_indices_take_16_bits_where_they_fit() -> None:
    assert LatentSpec.image(4, 8, codebook_size=65536).z.index_dtype == "uint16"
    assert LatentSpec.image(4, 8, codebook_size=65537).z.index_dtype == "uint32"
    with pytest.raises(ValueError, match="continuous; it has no indices"):
        _ = LatentSpec.image(4, 8).z.index_dtype


def test_a_field_that_most_parts_lack_leaves_their_identity_alone() -> None:
    assert '"scales"' not in LatentSpec.image(4, 8).to_json()
    assert '"scales":[1,2]' in LatentSpec.image(4, 8, codebook_size=8, scales=(1, 2)).to_json()


def measured() -> LatentSpec:
    return LatentSpec.image(4, 8).with_statistics({"z": ([0.5, -1.0, 0.0, 3.0], [2.0, 0.25, 1.0, 1.5])})


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 4, 7), (1, 4, 2, 3, 5)])
def test_normalising_is_a_round_trip(shape: tuple[int, ...]) -> None:
    z = torch.randn(shape, dtype=torch.float64)
    spec = measured()
    torch.testing.assert_close(spec.denormalize(spec.normalize(z)), z, rtol=0, atol=1e-12)
    torch.testing.assert_close(spec.normalize(spec.denormalize(z)), z, rtol=0, atol=1e-12)


def test_normalising_with_the_right_statistics_gives_zero_mean_and_unit_variance() -> None:
    z = (
        torch.randn(8, 4, 16, 16, dtype=torch.float64) * torch.tensor([3.0, 0.1, 1.0, 7.0]).view(1, 4, 1, 1)
        + 2.0
    )
    mean, std = z.mean(dim=(0, 2, 3)), z.std(dim=(0, 2, 3), correction=0)
    normed = LatentSpec.image(4, 8).with_statistics({"z": (mean.tolist(), std.tolist())}).normalize(z)
    torch.testing.assert_close(
        normed.mean(dim=(0, 2, 3)), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-10
    )
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(normed.std(dim=(0, 2, 3), correction=0), ones, rtol=0, atol=1e-10)


def test_conventions_of_others_normalise_as_they_do() -> None:
    z = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    blank = LatentSpec.image(4, 8)
    sd3 = blank.from_convention(1.5305, 0.0609)
    torch.testing.assert_close(sd3.normalize(z), (z - 0.0609) * 1.5305, rtol=0, atol=1e-12)
    dc_ae = blank.from_convention(0.41407)
    torch.testing.assert_close(dc_ae.normalize(z), z * 0.41407, rtol=0, atol=1e-12)
    mean, std = torch.tensor([0.1, -0.2, 0.3, 0.0]), torch.tensor([1.5, 0.5, 2.0, 1.0])
    wan = blank.from_convention((1 / std).tolist(), mean.tolist())
    expected = (z - mean.view(1, 4, 1, 1)) / std.view(1, 4, 1, 1)
    torch.testing.assert_close(wan.normalize(z), expected, rtol=0, atol=1e-6)  # the lists were float32


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), [1.0, 1.0, 0.0, 1.0]])
def test_a_scale_that_cannot_be_undone_is_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        LatentSpec.image(4, 8).from_convention(scale)


@pytest.mark.parametrize(
    "statistics",
    [
        ([0.0] * 3, [1.0] * 3),
        ([0.0] * 4, [1.0] * 3),
        ([0.0] * 4, [1.0, 1.0, 0.0, 1.0]),
        ([0.0] * 4, [1.0, 1.0, -1.0, 1.0]),
        ([float("nan")] * 4, [1.0] * 4),
        ([0.0] * 4, [float("inf")] * 4),
    ],
)
def test_impossible_statistics_are_refused(statistics: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="mean|std"):
        LatentSpec.image(4, 8).with_statistics({"z": statistics})


def test_missing_statistics_name_the_command_that_measures_them() -> None:
    blank = LatentSpec.image(4, 8)
    assert not blank.has_statistics
    for act in (blank.normalize, blank.denormalize):
        with pytest.raises(ValueError, match=r"python -m tokenizer\.stats"):
            act(torch.zeros(1, 4, 2, 2))
    assert measured().has_statistics
    assert measured().with_statistics(None) == blank


def test_a_latent_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="has 4 channels, the latent 3"):
        measured().normalize(torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"channels": 2, "mean": [0, 0]}, "mean and std come together"),
        ({"channels": 2, "layout": "1d"}, "num_tokens belongs to layout 1d"),
        ({"channels": 2, "num_tokens": 4}, "num_tokens belongs to layout 1d"),
        ({"channels": 2, "layout": "4d"}, "layout"),
        ({"channels": 2, "scales": [1, 2]}, "scales belong to a 2d part with one codebook"),
    ],
)
def test_a_part_that_contradicts_itself_is_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PartSpec.parse(part)


def test_a_spec_survives_json() -> None:
    for spec in (measured(), VIDEO, SEVERAL):
        assert LatentSpec.parse(json.loads(spec.to_json())) == spec
        assert LatentSpec.parse(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_the_identity_is_stable_across_processes() -> None:
    script = (
        "from tokenizer.spec import LatentSpec\n"
        "statistics = ([0.5, -1.0, 0.0, 3.0], [2.0, 0.25, 1.0, 1.5])\n"
        "spec = LatentSpec.image(4, 8).with_statistics({'z': statistics})\n"
        "print(spec.spec_id('ab' * 32))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert told == measured().spec_id("ab" * 32)
    assert len(told) == 16
    assert int(told, 16) >= 0


def test_the_identity_changes_with_the_weights_and_with_every_field() -> None:
    spec = measured()
    data = spec.model_dump(mode="json")
    variants = [
        data | {"time": "global"},
        data | {"chunk_frames": 8},
        data | {"first_frame_alone": True},
        *(
            data | {"parts": [data["parts"][0] | change]}
            for change in (
                {"name": "y"},
                {"layout": "3d"},
                {"spatial_factor": 16},
                {"temporal_factor": 4},
                {"codebook_size": 8},
                {"num_codebooks": 2},
                {"mean": [0.5, -1.0, 1e-9, 3.0]},
                {"std": [2.0, 0.25, 1.0, 1.5000001]},
            )
        ),
    ]
    identities = [LatentSpec.parse(variant).spec_id("ab" * 32) for variant in variants]
    identities += [spec.spec_id("ab" * 32), spec.spec_id("cd" * 32)]
    for first, second in itertools.combinations(identities, 2):
        assert first != second


def test_a_latent_of_one_part_is_its_z() -> None:
    z = torch.zeros(1, 4, 2, 2)
    assert Latent({"z": z}, (16, 16)).z is z


def test_importing_the_spec_imports_no_torch() -> None:
    script = "import sys, tokenizer.spec, tokenizer.core.config; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert told == "False"
