"""Residual networks of torchvision with random weights, without pooling and last layer."""

from __future__ import annotations

from functools import partial

from torch import nn

from lico_bench.models.backbones import BACKBONES, Backbone

CHANNELS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}


def build_resnet(name: str) -> nn.Module:
    """Build the feature extractor of torchvision's `name`, from the stem to `layer4`."""
    import torchvision  # takes seconds to import; only these backbones need it

    network = getattr(torchvision.models, name)(weights=None)
    features = nn.Sequential()
    for child, module in network.named_children():
        if child not in ("avgpool", "fc"):
            features.add_module(child, module)
    return features


for _name, _channels in CHANNELS.items():
    BACKBONES.add(
        _name,
        Backbone(
            title=_name.replace("resnet", "ResNet-"),
            build=partial(build_resnet, _name),
            channels=_channels,
            source="He et al., CVPR 2016",
        ),
    )
