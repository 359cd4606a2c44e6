"""Minimal cards of a user's dataset."""

from __future__ import annotations

MINIMAL = """
title = "Mine"
class_names = ["left", "right"]
image_size = 32
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
licence = "mine"
citation = "none"
official_counts = { train = 10, test = 5 }
[layout]
reader = "class_folders"
markers = ["train"]
expects = "train/<class>/* and test/<class>/*"
"""


def card_with_source(url: str, md5: str, *, folder: str = "") -> str:
    """Return the minimal card with an archive to download."""
    return f'{MINIMAL}[[sources]]\nurl = "{url}"\nmd5 = "{md5}"\nfolder = "{folder}"\n'
