"""The composite action: what it declares it uses, and its scripts do what they say."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from lico_bench.cli.app import app

ACTION = Path(__file__).parent.parent / "action.yml"
# Takes the place of a command: its words go to a file, its exit code comes from one.
STUB = """#!/bin/bash
printf '%s\\0' "$(basename "$0")" "$@" '\n' >> calls
exit "$(cat code 2>/dev/null || echo 0)"
"""


@pytest.fixture(scope="module")
def action():
    return yaml.safe_load(ACTION.read_text(encoding="utf-8"))


@pytest.fixture
def run_steps(action, tmp_path):
    """Run the action's scripts as a runner would, with `inputs`, and stubs for the commands."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("uv", "lico-bench"):
        (commands / name).write_text(STUB)
        (commands / name).chmod(0o755)

    def run(**inputs):
        values = {name: str(facts.get("default", "")) for name, facts in action["inputs"].items()}
        values |= {name.replace("_", "-"): value for name, value in inputs.items()}

        def filled(text):
            found = re.fullmatch(r"\$\{\{ (.+?) \}\}(.*)", text)
            name, rest = found.groups()
            places = {"github.action_path": "/action", "runner.temp": str(tmp_path / "temp")}
            return (places[name] if name in places else values[name.removeprefix("inputs.")]) + rest

        codes = []
        for step in action["runs"]["steps"]:
            if "run" in step:
                env = {name: filled(text) for name, text in step["env"].items()}
                env |= {name: str(tmp_path / name) for name in ("GITHUB_PATH", "GITHUB_OUTPUT")}
                env["PATH"] = f"{commands}:{os.environ['PATH']}"
                script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
                codes.append(subprocess.run(script, env=env, cwd=tmp_path, check=False).returncode)
        calls = (tmp_path / "calls").read_text().split("\0\n\0")
        return codes, [call.split("\0") for call in calls if call]

    return run


def test_every_input_is_used_and_every_used_one_declared(action):
    text = ACTION.read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(action["inputs"])
    for facts in action["inputs"].values():
        assert facts["description"]
        assert facts.get("required") or "default" in facts
    steps = {step["id"] for step in action["runs"]["steps"] if "id" in step}
    assert set(re.findall(r"steps\.([\w-]+)", text)) == steps


def test_no_input_is_put_into_a_script(action):
    for step in action["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert ("shell" in step) == ("run" in step)


REQUIRED = {"model": "net.py:build", "images": "my photos", "reference": "ref.csv"}


def test_its_calls_are_calls_that_the_command_line_takes(run_steps):
    codes, calls = run_steps(
        **REQUIRED, weights="a b.safetensors", layer="conv", score_options="--limit 4",
        check_options="--margin 0.1", requirements="-r requirements.txt",
    )  # fmt: skip
    assert codes == [0, 0, 0]
    venv, install, score, check = calls
    assert venv[:2] == ["uv", "venv"]
    assert install[-3:] == ["/action", "-r", "requirements.txt"]
    found = parsed(score)
    assert found["images"] == Path("my photos")
    assert found["weights"] == [Path("a b.safetensors")]
    assert (found["layer"], found["limit"]) == ("conv", 4)
    message = parsed(check)
    assert message["runs"] == [found["out"]]
    assert (message["against"], message["margin"]) == (Path("ref.csv"), 0.1)
    assert message["junit"].name == "junit.xml"


def parsed(call):
    """What the command makes of its words."""
    assert call[0] == "lico-bench"
    command = typer.main.get_command(app).commands[call[1]]
    return command.make_context(call[1], call[2:]).params


def test_text_in_an_input_is_never_run(run_steps, tmp_path):
    nasty = 'x"; touch owned; $(touch owned) `touch owned` #'
    _, calls = run_steps(**(REQUIRED | {"images": nasty, "reference": nasty}))
    assert not (tmp_path / "owned").exists()
    assert calls[2][calls[2].index("--images") + 1] == nasty


@pytest.mark.parametrize(
    ("code", "allow", "expected"),
    [(0, "false", 0), (1, "true", 1), (3, "false", 3), (3, "true", 0), (4, "true", 4)],
)
def test_the_exit_code_is_that_of_check(run_steps, tmp_path, action, code, allow, expected):
    steps = action["runs"]["steps"]
    check = next(step for step in steps if step.get("id") == "check")
    (tmp_path / "code").write_text(str(code))
    env = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(tmp_path / "out"),
        "RESULTS": "r", "REFERENCE": "ref.csv", "OPTIONS": "", "ALLOW_INCONCLUSIVE": allow,
    }  # fmt: skip
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", check["run"]]
    done = subprocess.run(script, env=env, cwd=tmp_path, check=False)
    assert done.returncode == expected
    assert (tmp_path / "out").read_text() == f"exit-code={code}\n"
