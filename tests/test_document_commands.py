"""Every command of README and how-to pages is run, or stands here with the reason why it is not.

Commands are shortened as a table below says, and run by a shell in their order, in one folder that
holds what the pages suppose. Their Python is run in tests/test_documents.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.cli.user_things import NET, Net, write_images

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
HOW_TO = DOCS / "how-to"
FIRST = (DOCS / "tutorial.md", HOW_TO / "own-model.md", HOW_TO / "gate.md")  # later ones use theirs
PAGES = (
    *FIRST,
    REPOSITORY / "README.md",
    *sorted({DOCS / "index.md", *HOW_TO.glob("*.md")} - set(FIRST)),
)
TEXT = "\n\n".join(page.read_text(encoding="utf-8") for page in PAGES)
GATE = (HOW_TO / "gate.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (HOW_TO / "extend.md").read_text(encoding="utf-8"), flags=re.S
)
METRIC = next(example for example in EXAMPLES if "@add_metric" in example)

# Whatever a run is asked for, it gets this too; the last word counts.
TINY = (
    " --profile smoke --data standin --seeds 1 --limit 2 --device cpu --set recipe.train_limit=32"
    " --set recipe.epochs=1 --set recipe.backbone=wrn_10_1"
)
SHORTER = (
    ("pip install uv && ", ""),  # the rest is run with what is installed
    ("uv run lico-bench", "lico-bench"),
    ("LICO_BENCH_DATA=/data", "LICO_BENCH_DATA=data"),
    ("--datasets all", "--datasets cifar10"),
    (" --profile smoke", ""),  # is in TINY
    (" --profile quick", ""),
    ("num_masks=500", "num_masks=8"),
    ("--workers 4", "--workers 2"),
    ("--methods grad_cam,smooth_grad --limit 4", "--methods grad_cam,smooth_grad --limit 1"),
    ("lico-bench score --model", "lico-bench score --limit 2 --model"),
    ("--load my_metric.py", "--load my_metric.py --quick"),
    ("tune tuning.toml", "tune tiny.toml"),
)
# What the text calls RUN, FILE, NAME and so on.
COMPLETE = {
    "lico-bench check": "lico-bench check results/seed1 --against saliency.csv",
    "lico-bench data where NAME": "lico-bench data where cifar10",
    "lico-bench verify RUN": "lico-bench verify results/seed1",
    "lico-bench publish RUN FOLDER": "lico-bench publish results/seed1 copy",
    "lico-bench run --plan": "lico-bench run --plan --datasets cifar10",
    "lico-bench compare OLD NEW": "lico-bench compare results/seed1 results/seed2",
    "lico-bench tune": "lico-bench tune tiny.toml --plan",
}
NOT_RUN = {
    "uv run pytest": "these are the tests",
    "git clone <where this repository lives> lico-bench && cd lico-bench": "a network",
    "pip install uv": "installs",
    "lico-bench report results/reference": "tests/report/test_published_study.py does, minutes",
    "lico-bench data fetch NAME": "a network",
    "lico-bench data verify NAME": "images; tests/data/test_verification.py has some",
    "lico-bench self-check concentration": "tests/test_documents.py registers it",
    "lico-bench run --metrics concentration": "tests/test_documents.py runs it",
    "lico-bench self-check": "minutes; tests/evaluation has its parts",
    "lico-bench run --datasets imagenet --devices 8": "eight GPUs",
    "torchrun --nnodes 2 --nproc-per-node 8 -m lico_bench run --datasets imagenet": "two machines",
    "uv sync --extra ray": "installs",
    "ray start --head": "a cluster; tests/bench/executors/test_ray_cluster.py has one",
    "ray start --address HEAD:PORT": "a cluster",
    "LICO_BENCH_DATA=/shared/data lico-bench run --datasets all --profile paper --executor ray "
    "--address HEAD:PORT --out /shared/results/paper": "a cluster",
}
TUNING = """
datasets = ["cifar10"]
profile = "smoke"
data = "standin"
limit = 2
recipe = { train_limit = 32, epochs = 1, backbone = "wrn_10_1", text_encoder = "random" }
tune = { trials = 2, holdout = 0.01 }
space = { "recipe.learning_rate" = { low = 0.01, high = 0.1 } }
"""
BUILD = """
def build():
    network = Net()
    network.explanation_layer = "conv"
    return network
"""
JUDGED = (0, 1, 3)  # of weights at random: worse, or not known


def shown_commands() -> list[str]:
    """Commands in blocks, in lines of their own and in the prose, in their order, each once."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.S)
    blocks = re.sub(r" *\\\n +", " ", prose)
    found = [
        (match.start(), match[1].split("  #")[0].strip())
        for match in re.finditer(r"^ {4}(\S.*)$", blocks, re.M)
    ]
    found += [
        (match.start(), match[1].replace("\\|", "|"))
        for match in re.finditer(r"`((?:uv run )?lico-bench [^`]+)`", blocks)
    ]
    for match in re.finditer(r"```(?:bash|sh|console)\n(.*?)```", TEXT, re.S):
        found += [(match.start(), line) for line in match[1].splitlines() if line.strip()]
    return list(dict.fromkeys(_plain(command) for _, command in sorted(found)))


def _plain(command: str) -> str:
    """As it stands in the tables here."""
    return re.sub(r"\s+", " ", command)


def reason_of(command: str) -> str:
    return NOT_RUN.get(command) or NOT_RUN.get(command.replace("uv run ", "")) or ""


def short_form(command: str) -> str:
    for text, shorter in SHORTER:
        command = command.replace(text, shorter)
    command = COMPLETE.get(command, command)
    return re.sub(r"(lico-bench run\b[^&;]*)", rf"\1{TINY}", command)


def action_commands() -> list[str]:
    """What the action does with the inputs of the workflow that is shown."""
    workflow = yaml.safe_load(re.search(r"```yaml\n(.*?)```", GATE, re.S)[1])
    given = workflow["jobs"]["saliency"]["steps"][1]["with"]
    known = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))["inputs"]
    assert set(given) <= set(known)
    assert {name for name, facts in known.items() if facts.get("required")} <= set(given)
    words = [f"--{name} {shlex.quote(given[name])}" for name in ("model", "weights", "images")]
    return [
        f"lico-bench score {' '.join(words)} --out results/action",
        f"lico-bench check results/action --against {given['reference']}",
    ]


COMMANDS = [*(c for c in shown_commands() if not reason_of(c)), *action_commands()]
RUN = list(dict.fromkeys(map(short_form, COMMANDS)))


def test_every_shown_command_is_run_or_listed():
    shown = shown_commands()
    for command in COMMANDS:
        assert "lico-bench " in command, f"run it here, or say in NOT_RUN why not: {command}"
        assert not re.search(r"\b(RUN|FILE|NAME|WHAT|IMAGE|FOLDER)\b", short_form(command)), command
    known = {_plain(command) for command in shown}
    known |= {command.replace("uv run ", "") for command in known}
    assert set(NOT_RUN) | set(COMPLETE) <= known, "no longer shown"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The folder that the pages suppose, with `lico-bench` on the path."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "net.py").write_text(NET + BUILD, encoding="utf-8")
    for number, name in enumerate(("baseline", "mine", *(f"seed{n}" for n in range(1, 6)))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            save_file(Net().state_dict(), folder / f"{name}.safetensors")
    write_images(folder / "photos", each=2, side=32)
    for name, animal in (("blue", "cat"), ("green", "dog"), ("red", "horse")):
        (folder / "photos" / name).rename(folder / "photos" / animal)
    image = folder / "photos" / "dog" / "0.png"
    image.rename(image.with_name("000.png"))
    write_images(folder / "unsorted", each=1, classed=False, side=96)
    (folder / "data").mkdir()
    (folder / "tiny.toml").write_text(TUNING, encoding="utf-8")
    (folder / "my_metric.py").write_text(METRIC, encoding="utf-8")
    program = folder / "bin" / "lico-bench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lico_bench "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("command", RUN)
def test_a_shown_command_runs(place: Path, command: str):
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=place,
        env={**os.environ, "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    fine = JUDGED if re.search(r" (check|compare) (?!.*--update)", command) else (0,)
    assert done.returncode in fine, f"{command}\n{done.stdout[-2000:]}\n{done.stderr}"
    assert "Traceback" not in done.stderr
