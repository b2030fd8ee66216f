"""What the README says, works."""

import re
import shlex
from pathlib import Path

import pytest

from closer_tf.config import load_config

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["embeddings"].shape == (450, 10, 64) and (tmp_path / "ensemble.keras").exists()


@pytest.mark.parametrize("path", re.findall(r"run_configs/\w+\.json|closer_tf/[\w./]+\.(?:py|json)|docs/[\w./]+", README))
def test_files_that_are_named_are_there(path):
    assert (REPOSITORY / path).exists()


def commands(name):
    """The arguments of the README's commands of one kind."""
    return [shlex.split(line)[2:] for line in re.findall(rf"^    (closer_tf {name} .*)$", README, flags=re.MULTILINE)]


@pytest.mark.parametrize("arguments", commands("train"), ids=" ".join)
def test_configs_with_the_overrides_that_are_named_are_valid(arguments, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    overrides = [value for option, value in zip(arguments, arguments[1:]) if option == "--set"]
    assert load_config(arguments[0], overrides).description


def test_ci_runs_the_readmes_test_command():
    assert "-m pytest -q" in README and "-m pytest -q" in (REPOSITORY / ".ci" / "run").read_text()
