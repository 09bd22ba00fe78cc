"""The two ends of the peers: features over time as an image or as a line of channels, and the classifier of a line."""

from torch import nn

from ..errors import UserError


def bands_and_frames(space: str, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the two sides of features over time; :class:`UserError` for inputs of another form."""
    sides = input_shape[1:] if len(input_shape) == 3 and input_shape[0] == 1 else input_shape
    if len(sides) != 2:
        raise UserError(f"space {space}: takes features (bands, frames), not inputs of shape {input_shape}")
    return sides[0], sides[1]


def as_image(input_shape: tuple[int, ...]) -> list[nn.Module]:
    """Return what makes (batch, 1, bands, frames) of the inputs."""
    return [nn.Unflatten(1, (1, input_shape[0]))] if len(input_shape) == 2 else []


def as_line(bands: int) -> list[nn.Module]:
    """Return what makes (batch, bands, 1, frames) of the inputs: bands as channels of a line."""
    return [nn.Flatten(1, -2), nn.Unflatten(1, (bands, 1))]


def pool_and_classify(channels: int, frames: int, classes: int, dropout: float) -> list[nn.Module]:
    """Return an average over a line's frames and a linear layer. A pool of fixed size runs where a mean does not."""
    return [nn.AvgPool2d((1, frames)), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, classes)]
