"""Files from strangers: cut, flipped, spliced or with other content, they are read or refused, never more than that.

CLOSER_TF_FUZZ_FILES sets how many files are tried in all (default 240).
"""

import io
import json
import os
import random
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from closer_tf.common.files import read_npz
from closer_tf.data import load_data
from closer_tf.data.neuro.binning import bin_recording
from closer_tf.data.neuro.nwb import read_nwb
from closer_tf.data.neuro.nwb_tables import read_tables
from closer_tf.errors import CloserError, CloserWarning, DataError
from closer_tf.graphs import read_matrix
from closer_tf.masks import ReceptiveFields, gaussian_masks, read_masks
from closer_tf.training.checkpoints import load_checkpoint
from closer_tf.training.runs import RunFolder

FILES = int(os.environ.get("CLOSER_TF_FUZZ_FILES", 240))


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def image(kind):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def deep_image():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 4096, (9, 7)).astype(np.uint16)).save(
        buffer, "TIFF", compression="tiff_lzw"
    )
    return buffer.getvalue()


def nwb(path):
    """A small file with the tables that `read_nwb` reads, and no more."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file["identifier"] = "1"
        channels = file.create_group("general/extracellular_ephys/electrodes")
        channels["id"], channels["probe_id"] = np.arange(3), np.array([7, 7, 8])
        channels["valid_data"] = np.ones(3, bool)
        for name, values in {"location": ["VISp", "CA1", "VISl"], "group_name": ["probeA", "probeA", "probeB"]}.items():
            channels.create_dataset(name, data=values, dtype=text)
        units = file.create_group("units")
        units["id"], units["peak_channel_id"] = np.arange(4), np.array([0, 1, 2, 0])
        units.create_dataset("quality", data=["good"] * 4, dtype=text)
        for name, value in {"amplitude_cutoff": 0.01, "presence_ratio": 0.99, "isi_violations": 0.1}.items():
            units[name] = np.full(4, value)
        units["spike_times"] = np.sort(np.random.default_rng(0).uniform(0, 40, (4, 50)), axis=1).ravel()
        units["spike_times_index"] = np.arange(50, 201, 50)
        table = file.create_group("intervals/natural_movie_one_presentations")
        table["frame"] = np.tile(np.arange(5), 6)
        table["start_time"] = np.arange(30.0)
        table["stop_time"] = np.arange(30.0) + 1
    return path.read_bytes()


def session_arrays():
    counts = np.random.default_rng(0).poisson(1.0, (6, 9, 4)).astype(np.uint8)
    return {
        "unit_ids": np.arange(4),
        "unit_areas": np.array(["a", "a", "b", "b"]),
        "bin_width": np.array(0.03),
        "counts_one": counts,
        "counts_two": counts[:, ::-1],
    }


def image_arrays():
    rng = np.random.default_rng(0)
    return {"x_train": rng.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8), "y_train": np.arange(20) % 4}


def gabor_arrays():
    counts = np.random.default_rng(0).poisson(1.0, (4, 40))
    places = np.arange(40) % 8
    return {
        **{"counts": counts, "areas": np.array(["a", "a", "b", "b"]), "unit_ids": np.arange(4), "qc_pass": np.ones(4, bool)},
        **{"x": places // 4, "y": places % 4, "repeat": np.arange(40) // 8},
    }


def movie_arrays():
    counts = np.random.default_rng(0).poisson(1.0, (4, 6, 9))
    return {"counts": counts, "areas": np.array(["a", "a", "b", "b"]), "unit_ids": np.arange(4)}


def checkpoint_arrays():
    """Valid in all but the checksum, and with it once `checksummed`."""
    from closer_tf.training.checkpoints import _checksum

    about = {"epoch": 1, "step": 0, "history": [{"epoch": 1, "loss": 2.5}], "digest": "0" * 64, "versions": {}}
    arrays = {"about": np.array(json.dumps(about)), "variable_00000": np.arange(6.0), "variable_00001": np.float32(2)}
    return {**arrays, "checksum": np.array(_checksum(arrays))}


def mask_arrays():
    with np.load(io.BytesIO(gaussian_masks((8, 8), 3, 0.2).to_bytes())) as stored:
        return dict(stored)


def read_image(path):
    for name in ("cat", "dog"):
        (path.parent / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path.parent / "images" / name / "0.png")
        Image.new("RGB", (4, 4)).save(path.parent / "images" / name / "1.png")
    inside = path.parent / "images" / "cat" / path.name
    inside.write_bytes(path.read_bytes())
    load_data("image_folder", path=str(path.parent / "images"), image_size=(6, 6))


KINDS = {  # name: (suffix, content or arrays, reader)
    "arrays": ("npz", image_arrays, lambda path: load_data("arrays", path=str(path))),
    "session": ("npz", session_arrays, lambda path: load_data("session", path=str(path))),
    "gabors": ("npz", gabor_arrays, lambda path: load_data("gabors", path=str(path))),
    "natural_movie": ("npz", movie_arrays, lambda path: load_data("natural_movie", path=str(path))),
    "checkpoint": ("npz", checkpoint_arrays, load_checkpoint),
    "masks": ("npz", mask_arrays, ReceptiveFields.load),
    "own_masks": ("npz", lambda: {"masks": np.ones((3, 4, 4), bool)}, read_masks),
    "matrix": ("npz", lambda: {"graph": np.ones((3, 3))}, read_matrix),
    "json_matrix": ("json", lambda path: b"[[0, 1.5], [1, 0]]", read_matrix),
    "png": ("png", lambda path: image("PNG"), read_image),
    "jpeg": ("jpg", lambda path: image("JPEG"), read_image),
    "webp": ("webp", lambda path: image("WEBP"), read_image),
    "tiff": ("tif", lambda path: image("TIFF"), read_image),
    "deep_tiff": ("tif", lambda path: deep_image(), read_image),
    "bmp": ("bmp", lambda path: image("BMP"), read_image),
    "gif": ("gif", lambda path: image("GIF"), read_image),
    "ppm": ("ppm", lambda path: image("PPM"), read_image),
    "tga": ("tga", lambda path: image("TGA"), read_image),
    "jpeg2000": ("jp2", lambda path: image("JPEG2000"), read_image),
    "nwb": ("nwb", nwb, lambda path: bin_recording(read_nwb(path), ["natural_movie_one"], report=lambda message: None)),
}


def content(kind, folder):
    suffix, make, _ = KINDS[kind]
    return npz(**make()) if suffix == "npz" else make(folder / f"whole.{suffix}")


def damaged(whole, rng):
    """One damage of a file's content: cut at some length, flipped, overwritten, repeated or extended."""
    data = bytearray(whole)
    at, length = rng.randrange(len(data)), rng.choice([1, 4, 16, 100])
    damage = rng.randrange(6)
    if damage == 0:  # every class of prefix: nothing, a magic number, a header, a part, all but the end
        return bytes(data[: rng.choice([0, 1, 4, 8, rng.randrange(64), at, len(data) - 1, len(data) - rng.randrange(1, 40)])])
    if damage == 1:
        for _ in range(length):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == 2:
        data[at : at + length] = bytes(rng.randrange(256) for _ in range(length))
    elif damage == 3:
        data[at : at + length] = b"\xff" * length
    elif damage == 4:
        data[at:at] = data[at : at + length]
    else:
        data += bytes(length)
    return bytes(data)


def other_content(arrays, rng):
    """A sound .npz file whose arrays are not what they should be."""
    key = rng.choice(list(arrays))
    array = np.asarray(arrays[key])
    junk = [
        lambda: None,
        lambda: np.array([]),
        lambda: np.array("a"),
        lambda: np.array(["../../../x", "$\\frac", "[/bold]", "\x1b[31m"] * max(1, array.size // 4)),
        lambda: array.astype("f8") * np.nan if array.dtype.kind in "uifb" else array.astype("S"),
        lambda: -array.astype("i8") - 1 if array.dtype.kind in "uifb" else array[..., None],
        lambda: np.full(array.shape, 2**63 - 1),
        lambda: np.full(array.shape, np.inf),
        lambda: array.astype("c16") if array.dtype.kind in "uifb" else array.astype("U0"),
        lambda: array.ravel()[:-1],
        lambda: array[None],
        lambda: np.zeros(array.shape, "M8[s]"),
        lambda: np.zeros(array.shape, [("a", "f8")]),
        lambda: np.full(array.shape, {}, dtype=object),
        lambda: np.array('{"epoch": 10000000000, "history": 3}'),
        lambda: np.array("[" * 5000),
    ]
    with np.errstate(all="ignore"):
        found = rng.choice(junk)()
    changed = {name: value for name, value in {**arrays, key: found}.items() if value is not None}
    if rng.random() < 0.2:
        changed[rng.choice(["../outside", "/absolute", "counts_../x", "variable_9", "label_names"])] = np.arange(4)
    return npz(**changed)


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("default")  # what a library warns of is no failure
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    suffix, make, read = KINDS[kind]
    whole = content(kind, tmp_path)
    rng = random.Random(kind)
    path = tmp_path / f"own.{suffix}"
    path.write_bytes(whole)
    read(path)  # the sound file is read
    refused = 0
    expected = {path.name, "images", f"whole.{suffix}", "holder"}
    for k in range(-(-FILES // len(KINDS))):
        junk = other_content(make(), rng) if suffix == "npz" and k % 2 else damaged(whole, rng)
        path.write_bytes(junk)
        try:
            read(path)
        except CloserError as error:
            refused += 1
            assert str(error)
        except ValueError:  # graphs and masks are given with their key by the caller
            assert kind in ("own_masks", "matrix", "json_matrix"), junk
            refused += 1
        assert {child.name for child in tmp_path.iterdir()} <= expected
    assert refused


@pytest.mark.parametrize("read", [read_nwb, read_tables])
def test_an_nwb_file_that_never_ends_or_crashes_is_refused(tmp_path, monkeypatch, read):
    """libhdf5 has files that it loops on; one that was found stands for them."""
    import subprocess

    from closer_tf.data.neuro import hdf5 as module

    nwb(tmp_path / "own.nwb")
    read(tmp_path / "own.nwb")
    usual = subprocess.run
    for code, message in (
        ("while True: pass", "did not end within"),
        ("import os; os.kill(os.getpid(), 11)", "crashes libhdf5"),
    ):

        def run(command, timeout, code=code, **options):
            return usual([*command[:2], code], timeout=3, **options)

        monkeypatch.setattr(module.subprocess, "run", run)
        with pytest.raises(DataError, match=message):
            read(tmp_path / "own.nwb")


@pytest.mark.parametrize("read", [read_nwb, read_tables])
def test_an_nwb_file_keeps_to_itself_and_to_what_fits(tmp_path, read):
    nwb(tmp_path / "other.nwb")

    def message(change):
        nwb(tmp_path / "own.nwb")
        with h5py.File(tmp_path / "own.nwb", "a") as file:
            change(file)
        with pytest.raises(DataError) as error:
            read(tmp_path / "own.nwb")
        return str(error.value)

    def linked(file):
        del file["units"]
        file["units"] = h5py.ExternalLink(str(tmp_path / "other.nwb"), "units")

    def outside(file):
        del file["units/spike_times"]
        file["units"].create_dataset("spike_times", (10,), "f8", external=[(str(tmp_path / "other.nwb"), 0, 80)])

    def huge(file):
        del file["units/spike_times"]
        file["units"].create_dataset("spike_times", (10**13,), "f8", chunks=(10**6,), compression="gzip")

    assert "lies in another file" in message(linked)
    assert "keeps its values in another file" in message(outside)
    assert "declares 80,000,000,000,000 bytes" in message(huge)


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    from closer_tf.common import files

    monkeypatch.setattr(files, "memory", lambda: 2**20)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(10**6))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    with pytest.raises(DataError, match="declares 8,000,128 bytes of arrays; at most 524,288"):
        read_npz(tmp_path / "bomb.npz")
    (tmp_path / "images" / "cat").mkdir(parents=True)
    Image.new("1", (10, 10)).save(tmp_path / "images" / "cat" / "0.png")
    with pytest.raises(DataError, match="declares 3,000,000 bytes"):
        load_data("image_folder", path=str(tmp_path / "images"), image_size=(1000, 1000))


def test_headers_that_lie_or_never_end(tmp_path):
    def message(header, body=b""):
        with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + body)
        with pytest.raises(DataError) as error:
            read_npz(tmp_path / "own.npz")
        return str(error.value)

    sound = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"
    assert "declares 8,000,000,000 bytes" in message((sound % ("<f8", (10**9,))).encode())
    assert "expected a plain array" in message((sound % ("<U0", (10**15,))).encode())
    assert "expected a plain array" in message((sound % ("<f8", (-1, -8))).encode(), bytes(64))
    assert "a header of 20,000 characters" in message(b" " * 20_000)
    assert "holds Python objects" in message((sound % ("|O", (1,))).encode(), b"cos\nsystem\n(S'true'\ntR.")
    assert "not a readable .npz file" in message(b"__import__('os').abort()")


@pytest.mark.parametrize("read", [read_npz, read_nwb, read_tables, read_matrix, load_checkpoint])
def test_a_pipe_is_no_file(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(CloserError, match="not an ordinary file"):
        read(tmp_path / "pipe.npz")


def test_a_pipe_among_images_is_left_out(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / "0.png")
        for k in (1, 2):
            Image.new("RGB", (4, 4), (k, 9 * k, len(name) + ord(name[0]))).save(tmp_path / name / f"{k}.png")
    with pytest.warns(CloserWarning, match="left out 2 of 6 files and folders: 2 not ordinary files"):
        assert len(load_data("image_folder", path=str(tmp_path), validation_fraction=0.0).train) == 2


def test_names_with_formulas_and_control_characters_are_only_names(tmp_path):
    from closer_tf import plots
    from closer_tf.common.command import printable

    names = ("$\\frac$", "[/bold]", "\x1b[31m", "../../x")
    matrix = np.full((4, 4), 0.25)
    plots.save(plots.plot_pseudo_likelihood({"closer": matrix, "untrained": matrix}, names), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
    assert printable("\x1b[31m \ud800 é\n") == "\\x1b[31m \\ud800 é\n"


@pytest.mark.parametrize("name", ["changes_file", "config_file", "history_file", "results_file", "masks_file"])
def test_damaged_files_of_a_run_folder(tmp_path, name):
    run = RunFolder(tmp_path)
    read = {
        "changes_file": run.changes,
        "config_file": run.load_config,
        "history_file": run.read_history,
        "results_file": run.read_results,
        "masks_file": run.load_masks,
    }[name]
    for text in ("", "{", "[" * 100_000, '"a"', "[3]", '[{"event": 1}]', "epoch,loss\n1,a\n", "\x00", "1" * 5000):
        if name == "history_file" and text in ("", "{", '"a"', "[3]", '[{"event": 1}]', "[" * 100_000, "1" * 5000, "\x00"):
            continue  # a header without rows
        if name == "changes_file" and text == "{":
            continue
        getattr(run, name).write_text(text)
        with pytest.raises(CloserError, match=str(getattr(run, name).name)):
            read()
