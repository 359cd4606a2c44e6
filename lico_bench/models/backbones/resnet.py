"""Residual networks of torchvision, random weights, without their pooling and last layer."""

from __future__ import annotations

from functools import partial

from torch import nn

from lico_bench.models.backbones import BACKBONES, Backbone

CHANNELS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}


def build_resnet(name: str) -> nn.Module:
    """Feature extractor of torchvision's `name`, from the stem to `layer4`."""
    import torchvision  # seconds to import; only these backbones need it

    whole = getattr(torchvision.models, name)(weights=None)
    parts = {n: m for n, m in whole.named_children() if n not in ("avgpool", "fc")}
    features = nn.Sequential()
    for part, module in parts.items():
        features.add_module(part, module)
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
