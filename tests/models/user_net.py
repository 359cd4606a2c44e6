"""A user's file: functions, classes and instances that are networks, and some that are none."""

from __future__ import annotations

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))

class Wide(Net):
    def __init__(self, width):
        super().__init__()

class Pair(Net):
    def forward(self, images):
        return super().forward(images), images

class Dictionary(Net):
    def forward(self, images):
        return {"out": super().forward(images)}

class Maps(Net):
    def forward(self, images):
        return self.conv(images)

class Broken(Net):
    def forward(self, images):
        return self.head(images.flatten(1))

class One(Net):
    def __init__(self):
        super().__init__(1)

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))

def build():
    return Net()

def fails():
    raise RuntimeError("no such wheel")

def tells():
    return "a network"

instance = Net()
number = 3
"""
