"""The guides in docs/ do what they say: code runs, commands work, configs are valid, links lead somewhere."""

import glob
import json
import re
import shlex
from pathlib import Path

import pytest

from closer_tf import cli
from closer_tf.config import conditions, own_parts, parse_config
from closer_tf.config.reference import config_reference

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
EXECUTED = ("extending", "keras_users", "neuroscientists", "serving")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXECUTED)
def test_a_guide_runs_from_top_to_bottom(name, tmp_path, monkeypatch, capsys):
    if name == "serving":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("tf2onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget_afterwards(monkeypatch)
    (tmp_path / "run_configs").symlink_to(REPOSITORY / "run_configs")
    text, names = (REPOSITORY / "docs" / f"{name}.md").read_text(), {}
    if name == "neuroscientists":  # what comes before is in test_recipes.py
        text = text[text.index("## Your counts as a session file") :]
    for before, kind, block in re.findall(r"([^\n]*)\n\n```(\w+)\n(.*?)```", text, flags=re.DOTALL):
        if kind == "json":
            parse_config(json.loads(block))
            (tmp_path / re.search(r"Save as `(\w+\.json)`", before)[1]).write_text(block)
        elif kind == "sh":
            for line in block.strip().splitlines():
                assert run(line) == 0, line
        elif module := re.search(r"Save as `(\w+\.py)`", before):
            (tmp_path / module[1]).write_text(block)
        else:
            exec(compile(block, f"{name}.md", "exec"), names)
    checked = {"neuroscientists": check_neuroscientists, "keras_users": check_keras_users, "extending": check_extending}
    checked.get(name, lambda names: None)(names)


def forget_afterwards(monkeypatch):
    """What a guide registers is not there for other tests."""
    monkeypatch.setattr(own_parts, "REGISTERED", {kind: dict(parts) for kind, parts in own_parts.REGISTERED.items()})
    monkeypatch.setitem(conditions.CONDITIONS, "predicted", None)  # is taken out again, as it was not there before
    monkeypatch.delitem(conditions.CONDITIONS, "predicted")


def run(line):
    """One command line of a guide, in this process."""
    words = [found for word in shlex.split(line) for found in (sorted(glob.glob(word)) or [word])]
    modules = {module: name for name, (module, _) in cli.COMMANDS.items()}
    assert words[:2] == ["python", "-m"] and words[2] in modules, line
    return cli.main([modules[words[2]], *words[3:]])


def check_neuroscientists(names):
    assert names["embeddings"].shape == (10, 60, 3, 32)
    assert set(names["scores"]) == {"counts", "untrained", "TCLoSeR"} and min(names["scores"].values()) > 0.8
    accuracy = json.loads(Path("runs/mine/results.json").read_text())["accuracy"]["tcloser"]["single"]["per_encoder"]
    assert accuracy[0] > 0.6 > accuracy[2]  # the third area knows nothing of the stimulus
    assert Path("report.html").exists() and Path("results/mine.png").exists()


def check_keras_users(names):
    assert names["embeddings"].shape == (450, 6, 32) and Path("best.keras").exists()
    data = names["data"]
    assert names["classifier"].evaluate(data.test.inputs, data.test.labels, verbose=0, return_dict=True)["accuracy"] > 0.5


def check_extending(names):
    assert names["fields"].num_encoders == 6 and names["splits"].input_shape == (20,)
    accuracy = json.loads(Path("runs/predicted/results.json").read_text())["accuracy"]
    assert set(accuracy) == {"masked_input", "untrained", "predicted"} and "knn_ensemble" in accuracy["predicted"]
    assert set(names["results"]["accuracy"]) == {"masked_input", "untrained", "made_in_python"}
    history = Path("runs/predicted/history.csv").read_text().splitlines()
    assert "miss,spread" in history[0] and len(history) == 3
    edges = json.loads(Path("runs/custom/config.json").read_text())["objective"]["graph"]["edges"]
    assert edges == names["graph"].edges.tolist()


def test_extensions_are_short():
    text = (REPOSITORY / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 6 and all(len(block.splitlines()) < 40 for block in blocks)


def test_the_config_reference_is_the_one_the_types_make():
    stored = (REPOSITORY / "docs" / "config.md").read_text()
    assert stored == config_reference() + "\n", "run: python -m closer_tf.config --reference > docs/config.md"


def test_the_config_reference_names_every_key():
    text = config_reference()
    for key in ("temperature", "num_edges", "checkpoint_minutes", "validation_split", "patch_size", "label", "tpull"):
        assert f"| `{key}` |" in text
    assert "| `image_size` | list of integer, >= 1, <= 10,000, 2 of them | `[32, 32]` |" in text
    assert "required" in text and "null" in text


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_links_and_files_are_there(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        assert (path.parent / link).exists(), link
    for name in re.findall(r"(?:run_configs|closer_tf|docs)/[\w./]+\.(?:py|json|md)", text):
        assert (REPOSITORY / name).exists(), name


def test_the_index_names_every_guide():
    index = (REPOSITORY / "docs" / "README.md").read_text()
    assert all(f"]({path.name})" in index for path in DOCS if path.name != "README.md")
