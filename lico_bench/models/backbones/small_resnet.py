"""Small residual networks for two CPU cores, with max pooling after the first convolution.

3x3 convolution to W maps, 2x2 max pooling, one block to 2W maps, one block of stride 2 to 4W maps.
The last maps have a quarter of the image's side, as in a wide residual network; nearly all
operations run at half of it. Blocks: Zagoruyko & Komodakis, BMVC 2016; pooling after the first
layer: He et al., CVPR 2016. The combination is defined here.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from lico_bench.models.backbones import BACKBONES, Backbone
from lico_bench.models.backbones.wide_resnet import Block, conv3x3, initialise


def build_small_resnet(width: int) -> nn.Module:
    """Build a feature extractor with `width` maps in its first layer, 4 * `width` in its last."""
    features = nn.Sequential(
        conv3x3(3, width, 1),
        nn.MaxPool2d(2),
        Block(width, 2 * width, 1),
        Block(2 * width, 4 * width, 2),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
    )
    initialise(features)
    return features


SIZES = {"small_resnet_16": 16, "small_resnet_24": 24, "small_resnet_32": 32}
for _name, _width in SIZES.items():
    BACKBONES.add(
        _name,
        Backbone(
            title=f"Small ResNet, width {_width}",
            build=partial(build_small_resnet, _width),
            channels=4 * _width,
            source="own definition, after Zagoruyko & Komodakis, BMVC 2016",
        ),
    )
