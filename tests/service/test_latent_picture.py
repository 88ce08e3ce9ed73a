"""A latent as a picture: one pixel a position, the same for the same latent, meaningful for known ones."""

import numpy as np

from service.latent_picture import channel_grid, index_maps, principal_colours
from tokenizer.spec import LatentSpec


def latent(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_one_pixel_a_position() -> None:
    assert principal_colours(latent(8, 5, 7)).shape == (5, 7, 3)
    assert channel_grid(latent(8, 5, 7)).shape == (3 * 6 - 1, 3 * 8 - 1)


def test_other_layouts_have_pictures_too() -> None:
    assert principal_colours(latent(8, 16)).shape == (1, 16, 3)  # 1d
    assert principal_colours(latent(8, 2, 5, 7)).shape == (10, 7, 3)  # 3d, frames below each other


def test_a_single_direction_becomes_red() -> None:
    ramp = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    direction = np.array([0.5, 2.0, -1.0, 0.0], np.float32)
    picture = principal_colours(direction[:, None, None] * ramp)
    red = picture[..., 0].ravel().astype(int)
    assert (np.diff(red) > 0).all()  # the sign follows the strongest channel
    assert np.ptp(picture[..., 1:].astype(int)) <= 2


def test_channels_and_constants_do_not_break_it() -> None:
    assert (principal_colours(np.zeros((8, 3, 3), np.float32)) == 128).all()
    assert principal_colours(latent(1, 3, 3)).shape == (3, 3, 3)
    assert principal_colours(latent(4, 1, 1)).shape == (1, 1, 3)


def test_shifting_channels_changes_no_colour() -> None:
    z = latent(6, 4, 4)
    moved = principal_colours(z + np.arange(6, dtype=np.float32)[:, None, None])
    assert np.abs(principal_colours(z).astype(int) - moved).max() <= 1


def test_the_strongest_channel_comes_first() -> None:
    z = np.zeros((3, 2, 2), np.float32)
    z[2] = [[-2.5, 2.5], [2.5, -2.5]]
    sheet = channel_grid(z)
    assert sheet[:2, :2].tolist() == [[0, 255], [255, 0]]
    assert (sheet[:2, 3:5] == 128).all()
    assert (sheet[2] == 255).all()


def test_every_code_is_a_colour_of_its_own() -> None:
    part = LatentSpec.image(4, 8, codebook_size=4096).z
    codes = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    picture = index_maps(codes, part, (512, 512))
    assert picture.shape == (64, 64, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 4090  # 24 of 32 bits are shown
    assert (index_maps(codes[::-1], part, (512, 512)) == picture[::-1]).all()
    neighbours = np.abs(np.diff(picture.astype(int), axis=1)).mean()
    assert 75 < neighbours < 95  # as between random colours: 85


def test_codebooks_and_scales_lie_side_by_side() -> None:
    several = LatentSpec.image(4, 8, codebook_size=2**32, num_codebooks=3).z
    codes = np.random.default_rng(0).integers(0, 2**32, (3, 2, 4)).astype(np.uint32)
    picture = index_maps(codes, several, (16, 32))
    assert picture.shape == (2, 3 * 5 - 1, 3)
    single = LatentSpec.image(4, 8, codebook_size=2**32).z
    assert (picture[:, 5:9] == index_maps(codes[1], single, (16, 32))).all()
    assert (picture[:, 4] == 255).all()
    scaled = LatentSpec.image(4, 8, codebook_size=16, scales=(1, 2, 4)).z
    flat = np.arange(1 + 2 + 8, dtype=np.uint16) % 16  # for a grid of 2 x 4: 1 x 1, 1 x 2 and 2 x 4
    picture = index_maps(flat, scaled, (16, 32))
    assert picture.shape == (2, 1 + 1 + 2 + 1 + 4, 3)
    small = LatentSpec.image(4, 8, codebook_size=16).z
    assert (picture[:, 5:] == index_maps(flat[3:].reshape(2, 4), small, (16, 32))).all()
