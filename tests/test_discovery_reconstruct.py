"""The pattern of a group: light added to images of a class, read back from how bright they became."""

import pytest
import torch

from spuriscope.discovery.reconstruct import Brightness


@pytest.mark.parametrize("light", [0.0, 0.1, 0.5, 0.83])
def test_light_that_was_added_is_read_back_through_the_clipping(light: float) -> None:
    """Half of the pixels saturate on the way; the mean rises by less than the light."""
    images = torch.rand(300, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    rise = (images + light).clamp(0, 1).mean(dim=0) - images.mean(dim=0)
    found = Brightness(images).added(rise[None])
    assert found.shape == (1, 1, 5, 5)
    torch.testing.assert_close(found[0], torch.full((1, 5, 5), light), atol=0.01, rtol=0)


def test_light_beyond_white_is_all_there_is_and_darkening_is_none() -> None:
    images = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    brightness = Brightness(images)
    torch.testing.assert_close(brightness.added(torch.ones(1, 3, 4, 4)), torch.ones(1, 3, 4, 4))
    assert (brightness.added(torch.full((1, 3, 4, 4), -0.2)) == 0).all()
