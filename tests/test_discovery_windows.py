"""Windows: what is usual in each place, and a small cue among much that varies."""

import numpy as np
import torch

from spuriscope.data.image_set import Split
from spuriscope.discovery import Trace
from spuriscope.discovery.windows import windows

SIDE = 24


def textures(n: int, seed: int) -> torch.Tensor:
    """Colour images in which each image varies everywhere: random waves of its own."""
    rng = np.random.default_rng(seed)
    at = np.arange(SIDE) / SIDE
    images = np.zeros((n, 3, SIDE, SIDE))
    for _ in range(12):
        frequencies, phases = rng.uniform(-4, 4, (n, 2, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 3, 1, 1))
        waves = 2 * np.pi * (frequencies[:, 0] * at[:, None] + frequencies[:, 1] * at)
        images += np.sin(waves[:, None] + phases)
    return torch.from_numpy((255 * (0.5 + images / 12).clip(0, 1)).astype(np.uint8))


def test_windows_cover_the_image_and_whiten_what_they_were_fitted_on() -> None:
    fresh = textures(400, 0)
    covered = np.zeros((SIDE, SIDE), dtype=bool)
    for window in windows(fresh):
        covered[window.top : window.top + window.height, window.left : window.left + window.width] = True
        values = window.transform(fresh)
        assert abs(values.mean()) < 1e-3
        assert (values.std(axis=0) < 1.01).all()
        strongest = values[:, -3:]  # of the largest variance, well above the floor
        np.testing.assert_allclose(np.cov(strongest, rowvar=False, bias=True), np.eye(3), atol=0.01)
    assert covered.all()


def test_images_smaller_than_a_window_are_one_window() -> None:
    (window,) = windows(torch.randint(0, 255, (50, 1, 3, 3), dtype=torch.uint8))
    assert (window.height, window.width) == (3, 3)


def test_windows_of_large_images_are_looked_at_in_squares() -> None:
    pixels = torch.rand(200, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    first = next(windows(pixels))
    assert (first.height, first.width) == (24, 24)
    squares = pixels[:, 0, :24, :24].reshape(200, 12, 2, 12, 2).mean(dim=(0, 2, 4))
    np.testing.assert_allclose(first.mean.reshape(12, 12), squares, rtol=1e-4)


def test_a_small_cue_in_busy_images_shows_through_a_window_and_not_in_whole_images() -> None:
    train, fresh = textures(300, 1), textures(300, 2)
    cue = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    train[:4, :, 12:16, 6:10] = (255 * (train[:4, :, 12:16, 6:10] / 255 + cue).clamp(0, 1)).to(torch.uint8)
    labels = torch.zeros(300, dtype=torch.int64)
    groups = Trace().fit(Split(fresh, labels)).of_class(Split(train, labels), 0).groups()
    first = {look: next(g for g in groups if g.look == look) for look in ("whole", "windows")}
    assert first["windows"].positions.tolist() == [0, 1, 2, 3]
    assert first["whole"].positions.tolist() != [0, 1, 2, 3]
