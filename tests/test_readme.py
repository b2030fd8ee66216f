"""What the README says, works."""

import re
from pathlib import Path

import pytest

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


def test_ci_runs_the_readmes_test_command():
    assert "-m pytest -q" in README and "-m pytest -q" in (REPOSITORY / ".ci" / "run").read_text()
