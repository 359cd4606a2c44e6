"""A file of `lico-bench tune` for small trainings, of which tests replace parts."""

from __future__ import annotations

from pathlib import Path

from lico_bench.bench.tuning import Tuning, read_tuning

RATE = '"recipe.learning_rate" = { low = 0.01, high = 0.5, scale = "log" }'
BETA = '"objective.beta" = { values = [0.1, 1.0] }'
TUNING = """
datasets = ["cifar10"]
arms = ["baseline", "lico"]
profile = "smoke"
data = "{data}"
limit = 2
metrics = ["insertion", "deletion", "overall"]

[recipe]
train_limit = 60
epochs = 1
batch_size = 20
text_encoder = "random"

[tune]
trials = 3
holdout = {holdout}
second_pick = {{ accuracy = 1.0, overall = 2.0 }}

[space]
"recipe.learning_rate" = {{ low = 0.01, high = 0.5, scale = "log" }}

[space.lico]
"objective.beta" = {{ values = [0.1, 1.0] }}
"""


def tuning(data: str = "standin", *, holdout: str = "0.02", old: str = "", new: str = "") -> Tuning:
    """The tuning of the file above, with one part of its text replaced."""
    text = TUNING.format(data=data, holdout=holdout)
    assert old in text
    Path("space.toml").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return read_tuning(Path("space.toml"))
