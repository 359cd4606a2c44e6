"""A user's files as the tests of `score` and `explain` find them: a network, weights, images."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (220, 40, 40)}
SIDE = 16

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))

class Two(Net):
    def forward(self, images):
        return super().forward(images), images

class Broken(Net):
    def forward(self, images):
        return super().forward(images) * float("nan")
"""


class Net(nn.Module):
    """The network of net.py, so that its weights can be made here."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)


def write_network(folder: Path) -> None:
    """net.py, and the weights of two trainings of it."""
    (folder / "net.py").write_text(NET, encoding="utf-8")
    for number, name in enumerate(("a", "b")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            save_file(Net().state_dict(), folder / f"{name}.safetensors")


def write_images(folder: Path, *, each: int = 2, classed: bool = True, side: int = SIDE) -> Path:
    """Squares of a colour on grey, in folders named by the colour or side by side."""
    for name, colour in COLOURS.items():
        for number in range(each):
            image = Image.new("RGB", (side, side), (110, 110, 110))
            corner = 2 + 3 * number
            image.paste(colour, (corner, 4, corner + 6, 11))
            path = folder / name / f"{number}.png" if classed else folder / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder
