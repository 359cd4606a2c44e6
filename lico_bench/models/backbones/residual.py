"""Residual networks: wide ones, small ones for CPUs, and torchvision's, with random weights.

Source of the wide networks: Zagoruyko & Komodakis, BMVC 2016, table 1. `wrn_28_2` has 28
convolutions and width 2. The small networks have the same blocks and pool after the first
convolution (He et al., CVPR 2016), so that nearly all operations run at half of the image's side;
the combination is defined here.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.models.backbones import BACKBONES, Backbone

STEM_CHANNELS = 16
GROUP_STRIDES = (1, 2, 2)


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and ReLU, around a shortcut.

    If the shape changes, the shortcut is a 1x1 convolution of the pre-activated input.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = conv3x3(channels_in, channels_out, stride)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = conv3x3(channels_out, channels_out, 1)
        keeps_shape = channels_in == channels_out and stride == 1
        self.shortcut = (
            None if keeps_shape else nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels_in, h, w) -> (N, channels_out, h / stride, w / stride)."""
        activated = F.relu(self.norm1(maps))
        shortcut = maps if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return shortcut + residual


def build_wide_resnet(depth: int, width: int) -> nn.Module:
    """Build the feature extractor of WRN-depth-width, including the last normalisation and ReLU."""
    blocks_per_group = (depth - 4) // 6
    layers: list[nn.Module] = [conv3x3(3, STEM_CHANNELS, 1)]
    channels = STEM_CHANNELS
    for group, stride in enumerate(GROUP_STRIDES):
        channels_out = STEM_CHANNELS * 2**group * width
        for index in range(blocks_per_group):
            layers.append(Block(channels, channels_out, stride if index == 0 else 1))
            channels = channels_out
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    features = nn.Sequential(*layers)
    initialise(features)
    return features


def build_small_resnet(width: int) -> nn.Module:
    """Build a feature extractor with `width` maps in its first layer, 4 * `width` in its last.

    3x3 convolution to W maps, 2x2 max pooling, one block to 2W maps, one block of stride 2 to 4W
    maps. The last maps have a quarter of the image's side, as in a wide residual network.
    """
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


def build_resnet(name: str) -> nn.Module:
    """Build the feature extractor of torchvision's `name`, from the stem to `layer4`."""
    import torchvision  # takes seconds to import; only these backbones need it

    network = getattr(torchvision.models, name)(weights=None)
    features = nn.Sequential()
    for child, module in network.named_children():
        if child not in ("avgpool", "fc"):
            features.add_module(child, module)
    return features


def initialise(features: nn.Module) -> None:
    """Draw the weights of all convolutions (He et al., ICCV 2015, fan-out)."""
    for module in features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def conv3x3(channels_in: int, channels_out: int, stride: int) -> nn.Conv2d:
    """Return a 3x3 convolution with padding 1 and without bias."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)


SIZES = {
    "wrn_10_1": (10, 1),
    "wrn_10_2": (10, 2),
    "wrn_16_1": (16, 1),
    "wrn_16_2": (16, 2),
    "wrn_28_2": (28, 2),
    "wrn_28_8": (28, 8),
    "wrn_28_10": (28, 10),
}
for _name, (_depth, _width) in SIZES.items():
    BACKBONES.add(
        _name,
        Backbone(
            title=f"WRN-{_depth}-{_width}",
            build=partial(build_wide_resnet, _depth, _width),
            channels=64 * _width,
            source="Zagoruyko & Komodakis, BMVC 2016",
        ),
    )

SMALL_WIDTHS = {"small_resnet_16": 16, "small_resnet_24": 24, "small_resnet_32": 32}
for _name, _width in SMALL_WIDTHS.items():
    BACKBONES.add(
        _name,
        Backbone(
            title=f"Small ResNet, width {_width}",
            build=partial(build_small_resnet, _width),
            channels=4 * _width,
            source="own definition, after Zagoruyko & Komodakis, BMVC 2016",
        ),
    )

RESNET_CHANNELS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
for _name, _channels in RESNET_CHANNELS.items():
    BACKBONES.add(
        _name,
        Backbone(
            title=_name.replace("resnet", "ResNet-"),
            build=partial(build_resnet, _name),
            channels=_channels,
            source="He et al., CVPR 2016",
        ),
    )
