"""Paths as people give them, and text as their editors save it, at every door."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from closer_tf import cli, export, graphs, masks, report, summary
from closer_tf.common.files import given_path, make_folder, read_npy, read_npz, read_text, write_atomically, write_npz
from closer_tf.config import load_config
from closer_tf.data.arrays import arrays
from closer_tf.data.image_folder import image_folder
from closer_tf.data.neuro.allen import session_path
from closer_tf.data.neuro.allen_cache import session_file
from closer_tf.errors import CloserError, ConfigError, DataError, ExportError, RunError
from closer_tf.report.reading import run_folders
from closer_tf.sweeps.config import load_sweep, run_configs
from closer_tf.sweeps.engine import Sweep
from closer_tf.training.checkpoints import PATTERN, checkpoint_files, moment_of
from closer_tf.training.runs import RunFolder

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder; the working directory is another, which has to stay empty."""
    folder, here = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(here)
    yield folder
    assert not list(here.iterdir())


def test_a_tilde_is_the_home_folder(home):
    assert given_path("~/a/b") == home / "a" / "b" and given_path(Path("~/a")) == home / "a"
    assert given_path("a/~/b") == Path("a/~/b") and given_path("./~") == Path("./~")
    assert given_path("~\0/a") == Path("~\0/a")  # a name that no file can have stays what it is
    make_folder("~/made/within", parents=True)
    write_atomically("~/made/text", "x")
    assert read_text("~/made/text") == "x" and (home / "made" / "within").is_dir()
    assert RunFolder("~/run").path == home / "run"
    assert session_path("~/out", 1).parent == home / "out" and session_file("~/cache", 1).is_relative_to(home / "cache")
    assert Sweep("none", [], "~/runs").runs_dir == home / "runs"
    shutil.rmtree(home / "made")


def test_a_tilde_in_configs_sweeps_and_overrides(home):
    (home / "graph.json").write_text("[[0, 1], [1, 0]]")
    (home / "run.json").write_text('{"num_encoders": 2, "dataset": {"name": "arrays", "path": "~/a.npz"}}')
    config = load_config("~/run.json", ["masks.scheme=custom", "masks.path=~/m.npy"])
    assert (config.dataset.path, config.masks.path) == (str(home / "a.npz"), str(home / "m.npy"))
    config = load_config("~/run.json", ['objective.graph={"family": "custom", "path": "~/graph.json"}', "dataset.path=~/b"])
    assert config.objective.graph.edges == [[0, 1], [1, 0]] and config.dataset.path == str(home / "b")
    (home / "sweep.json").write_text('{"base": "~/run.json", "seeds": [0]}')
    ((_, config, _),) = run_configs(load_sweep("~/sweep.json"), "~/sweep.json")
    assert config.dataset.path == str(home / "a.npz")


def test_a_tilde_before_data_masks_and_graphs(home):
    images = np.arange(8 * 16).reshape(8, 4, 4).astype(np.uint8)
    write_npz("~/a.npz", {"x_train": images, "y_train": np.arange(8) % 2})
    assert len(read_npz("~/a.npz")["x_train"]) == 8 and len(arrays("~/a.npz").train.inputs) == 6
    np.save(home / "m.npy", np.eye(4, dtype=bool)[None].repeat(2, axis=0))
    assert read_npy("~/m.npy").shape == (2, 4, 4) and masks.read_masks("~/m.npy").num_encoders == 2
    (home / "fields.npz").write_bytes(masks.read_masks("~/m.npy").to_bytes())
    assert masks.ReceptiveFields.load("~/fields.npz").grid == (4, 4) and masks.read_masks("~/fields.npz").grid == (4, 4)
    (home / "graph.csv").write_text("0,1\n0.5,0\n")
    assert graphs.read_matrix("~/graph.csv").tolist() == [[0, 1], [0.5, 0]]
    for k in range(4):
        (home / "images" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (60 * k, 0, 0)).save(home / "images" / "ab"[k % 2] / f"{k}.png")
        (home / "others" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (60 * k, 255, 0)).save(home / "others" / "ab"[k % 2] / f"{k}.png")
    assert image_folder("~/images", test_path="~/others").label_names == ("a", "b")


def test_a_tilde_in_every_command(home, tiny_config, capsys):
    (home / "tiny.json").write_text(json.dumps(tiny_config | {"training": {"epochs": 1, "batch_size": 256}}))
    for line in (
        "train ~/tiny.json --run-dir=~/runs/a",
        "evaluate ~/runs/a --figures pdf",
        "summary --figures=svg ~/runs/a --out=~/out/all",
        "report ~/runs --out=~/out/page.html --embeddings=none",
    ):
        assert cli.main(line.split()) == 0, (line, capsys.readouterr().err)
    assert sorted(path.name for path in (home / "out").iterdir()) == ["all.json", "all.png", "all.svg", "page.html"]
    figures = home / "runs" / "a" / "figures"
    assert {path.stem for path in figures.glob("*.pdf")} == {path.stem for path in figures.glob("*.png")} != set()
    assert list(summary.read_summary("~/out/all.json")) == ["a"] and run_folders(["~/runs"]) == [home / "runs" / "a"]
    for refused in (lambda: export.export_run("~/runs/a", "~/out"), lambda: export.export_ensemble(None, "~/out", [])):
        with pytest.raises(ExportError, match="is there already"):
            refused()
    with pytest.raises(RunError, match="there is no folder"):
        report.write_report(["~/runs"], "~/nowhere/page.html")


def as_notepad_saves(text):
    return BOM + text.replace("\n", "\r\n").encode()


def test_text_with_a_byte_order_mark_and_windows_line_ends(tmp_path, tiny_config):
    config = tmp_path / "run.json"
    config.write_bytes(as_notepad_saves(json.dumps(tiny_config, indent=2)))
    assert load_config(config).num_encoders == 3
    (tmp_path / "sweep.json").write_bytes(as_notepad_saves('{"base": "run.json",\n "seeds": [0]}'))
    assert len(run_configs(load_sweep(tmp_path / "sweep.json"), str(tmp_path / "sweep.json"))) == 1
    for name, text in (("graph.json", "[[0, 1],\n [1, 0]]"), ("graph.csv", "0,1\n1,0\n")):
        (tmp_path / name).write_bytes(as_notepad_saves(text))
        assert graphs.read_matrix(tmp_path / name).tolist() == [[0, 1], [1, 0]]


def test_a_run_folder_whose_files_went_through_an_editor(tmp_path, tiny_config):
    run = RunFolder(tmp_path)
    (tmp_path / "config.json").write_bytes(as_notepad_saves(json.dumps(tiny_config, indent=2)))
    results = {"epochs": 1, "accuracy": {}, "chance": 0.1, "protocol": {}}
    (tmp_path / "history.csv").write_bytes(as_notepad_saves("epoch,loss\n1,2.5\n"))
    (tmp_path / "results.json").write_bytes(as_notepad_saves(json.dumps(results)))
    (tmp_path / "changes.json").write_bytes(as_notepad_saves('[{"event": "not finite", "epoch": 0, "step": 1}]'))
    assert run.load_config().num_encoders == 3 and run.read_history() == [{"epoch": 1.0, "loss": 2.5}]
    assert run.read_results() == results and run.changes()[0]["step"] == 1


@pytest.mark.parametrize(
    "encoding, says",
    [
        ("utf-16", "in UTF-16, expected UTF-8; save it anew"),
        ("utf-16-le", "in UTF-16, expected UTF-8"),
        ("utf-16-be", "in UTF-16, expected UTF-8"),
        ("latin-1", "line 2 is not in UTF-8, which is expected; save"),
    ],
)
def test_other_encodings_are_refused_in_one_line(tmp_path, encoding, says):
    config, matrix, run = tmp_path / "run.json", tmp_path / "graph.json", tmp_path / "run"
    run.mkdir()
    for path, text in ((config, '{"seed": 1,\n"description": "é"}'), (matrix, '[[0, 1],\n["é", 0]]')):
        path.write_bytes(text.encode(encoding))
    shutil.copy(config, run / "config.json")
    for kind, read in (
        (ConfigError, lambda: load_config(config)),
        (ConfigError, lambda: load_sweep(config)),
        (DataError, lambda: graphs.read_matrix(matrix)),
        (RunError, lambda: RunFolder(run).load_config()),
    ):
        with pytest.raises(CloserError) as error:
            read()
        assert isinstance(error.value, kind) and says in str(error.value) and "\n" not in str(error.value)
        assert "run.json" in str(error.value) or "graph.json" in str(error.value) or "config.json" in str(error.value)


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path):
    moments = [(99_999, 0), (100_000, 3), (100_000, 0), (7, 12)]
    for moment in moments:
        (tmp_path / PATTERN.format(*moment)).touch()
    (tmp_path / "epoch-of-mine.npz").touch()
    found = [moment_of(path.name) for path in checkpoint_files(tmp_path)]
    assert found == [*sorted(moments, reverse=True), (-1, -1)]
