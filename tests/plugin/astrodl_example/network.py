"""A network of another package: one convolution and a mean."""

from torch import Tensor, nn

from astrodl.models.blocks import ImageNetwork


class Pooled(ImageNetwork):
    """Mean over the pixels of one convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, 8, 3)
        self.out_features = 8

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images).relu().mean((2, 3))


def build(in_channels: int, size: int) -> Pooled:
    return Pooled(in_channels)
