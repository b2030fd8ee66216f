"""`closer_tf inspect` on what is no NWB file: sessions, arrays of images and recordings, folders."""

import json
import shlex

import h5py
import numpy as np
import pytest
from PIL import Image

from closer_tf import cli
from closer_tf.common.files import read_npz
from closer_tf.config import load_config
from closer_tf.data.contents import described
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import DataError
from closer_tf.evaluate import check_readout
from closer_tf.training import experiment


def test_a_session(tmp_path):
    counts = np.ones((5, 6, 3), np.uint8)
    labels = {
        "time": {"one": np.arange(5)},
        "choice": {"one": ["go", "stay"] * 2 + ["go"]},
        "place": {"one": np.linspace(0, 1, 30).reshape(5, 6)},
    }
    Session("mouse", ["a", "b", "c"], ["V1", "V1", "LM"], 0.05, {"one": counts}, labels=labels).save(tmp_path / "s.npz")
    source = json.dumps({"name": "session", "path": str(tmp_path / "s.npz"), "label": "choice"})  # there is one stimulus
    assert described(tmp_path / "s.npz") == [
        f"{tmp_path / 's.npz'}: Session('mouse': 3 units in 2 areas, bins of 0.05 s, one 5 trials of 6 bins)",
        "  counts; areas: V1 2 LM 1",
        "  label 'time', one per trial: 5 different values: 0, 1, 2, 3, 4",
        "  label 'choice', one per trial: 2 different values: go, stay",
        "  label 'place', one per bin: 30 different values: 0 to 1",
        "  'time' means something else as dataset.label: give that label another name",
        f"  closer_tf train simulated_tcloser --run-dir runs/mine --set 'dataset={source}' --set num_encoders=2\n"
        "  to have it as a config: the same with --resolved > mine.json",
    ]


def test_a_label_that_cannot_be_named(tmp_path):
    """No command is proposed that would be refused."""
    counts = {"one": np.ones((5, 6, 2), np.uint8)}
    Session("mouse", ["a", "b"], ["V1", "LM"], 0.05, counts, labels={"none": {"one": np.arange(5)}}).save(tmp_path / "s.npz")
    assert described(tmp_path / "s.npz")[-1] == "  'none' means something else as dataset.label: give that label another name"


@pytest.mark.parametrize(
    "kind, arrays",
    [
        ("arrays", {"x_train": np.zeros((4, 8, 8, 1)), "y_train": np.arange(4)}),
        ("natural_movie", {"counts": np.ones((2, 5, 6)), "areas": np.array(["A", "B"]), "unit_ids": np.arange(2)}),
        (
            "gabors",
            {"counts": np.ones((2, 5)), "areas": np.array(["A", "B"]), "unit_ids": np.arange(2), "qc_pass": np.ones(2, bool)}
            | {name: np.arange(5) for name in ("x", "y", "repeat")},
        ),
    ],
)
def test_arrays(tmp_path, kind, arrays, capsys):
    np.savez(tmp_path / "a.npz", **arrays)
    lines = described(tmp_path / "a.npz")
    assert lines[0].endswith(f"arrays for the source '{kind}'")
    command, as_config = lines[-1].splitlines()
    assert as_config.endswith("the same with --resolved > mine.json")
    assert cli.main([*shlex.split(command)[1:], "--resolved"]) == 0
    assert json.loads(capsys.readouterr().out)["dataset"]["name"] == kind
    assert any(line.startswith(f"  {next(iter(arrays))}: shape (") for line in lines)


@pytest.mark.parametrize(
    "name, given",
    [
        ("two stimuli", {}),
        ("one stimulus", {}),
        ("one stimulus with labels", {"choice": ["go", "stay"] * 20}),
        ("one stimulus with a number", {"speed": np.linspace(0, 30, 800).reshape(40, 20)}),
        ("trials of one bin", {}),
        ("natural_movie", {}),
        ("gabors", {}),
    ],
)
def test_the_command_that_is_printed_fits_the_data(tmp_path, name, given):
    rng, areas = np.random.default_rng(0), ["V1"] * 4 + ["LM"] * 3 + ["AL"] * 3
    arrays = {"areas": np.array(areas), "unit_ids": np.arange(10)}
    if name == "natural_movie":
        np.savez(tmp_path / "a.npz", counts=rng.poisson(3, (10, 20, 30)), **arrays)
    elif name == "gabors":
        grid = {
            "x": np.tile(np.repeat(np.arange(9), 9), 9),
            "y": np.tile(np.arange(9), 81),
            "repeat": np.repeat(np.arange(9), 81),
        }
        np.savez(tmp_path / "a.npz", counts=rng.poisson(3, (10, 729)), qc_pass=np.ones(10, bool), **grid, **arrays)
    else:
        stimuli = ("one",) if name.startswith("one") else ("one", "other")
        counts = {each: rng.poisson(3, (40, 20, 10)) for each in stimuli}
        if name == "trials of one bin":
            counts = {each: rng.poisson(3, (200, 1, 10)) for each in stimuli}
        labels = {key: {"one": values} for key, values in given.items()}
        Session("mouse", list("abcdefghij"), areas, 0.05, counts, labels=labels).save(tmp_path / "a.npz")
    *lines, last = described(tmp_path / "a.npz")
    assert ("one stimulus and no labels: nothing is read out, unless" in lines[-1]) == (name == "one stimulus")
    command = shlex.split(last.splitlines()[0])
    overrides = [value for key, value in zip(command, command[1:]) if key == "--set"]
    config = load_config(command[2], overrides).resolved()
    data = experiment.load_splits(config)
    check_readout(config, data)
    assert getattr(config.dataset, "regress", False) == (name == "one stimulus with a number")
    assert experiment.make_receptive_fields(config, data).num_encoders == 3


def test_rows_of_features_are_no_images(tmp_path):
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((30, 20)))
    assert described(tmp_path / "rows.npz")[-1].startswith("  x_train: expected images, (samples, height, width)")


def test_folders(tmp_path, capsys):
    for name in ("images", "sorting", "empty"):
        (tmp_path / name).mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "a.png")
    for name in ("times", "clusters"):
        np.save(tmp_path / "sorting" / f"spike_{name}.npy", np.arange(3))
    assert described(tmp_path / "images")[0].endswith("a folder of 1 images")
    assert "spike sorting of Kilosort or phy" in described(tmp_path / "sorting")[0]
    with pytest.raises(DataError, match="a folder with neither images, nor spike sorting of phy, nor NWB in Zarr"):
        described(tmp_path / "empty")
    (tmp_path / "text.txt").write_text("text")
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    (tmp_path / "half.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:100])
    (tmp_path / "half.nwb").write_bytes(b"\x89HDF")
    for name, message in (
        ("text.txt", "neither NWB (HDF5) nor .npz; expected one of these"),
        ("other.npz", "an .npz with the arrays a, of none of the known kinds (arrays: x_train;"),
        ("half.npz", "not a readable .npz file of plain arrays; it may be cut short"),
        ("half.nwb", "cannot be read as an NWB file; it may be cut short"),
        ("none.nwb", "no such file"),
    ):
        assert cli.main(["inspect", str(tmp_path / name)]) == 2
        assert f"error: {tmp_path / name}: {message}" in capsys.readouterr().err


def test_a_run_folder_is_no_folder_of_images(tmp_path):
    for name in ("config.json", "masks.npz", "picture.png"):
        (tmp_path / name).write_bytes(b"")
    assert described(tmp_path)[0] == f"{tmp_path}: a run folder"


def test_nwb_where_arrays_are_expected_names_the_command(tmp_path):
    with h5py.File(tmp_path / "mouse.nwb", "w"):
        pass
    with pytest.raises(DataError, match=r"mouse.nwb: expected an .npz file .*, found HDF5; of NWB, closer_tf session makes"):
        read_npz(tmp_path / "mouse.nwb")
