"""Embeddings out of a run, as arrays and as a table."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from closer_tf import embed, train
from closer_tf.data import load_data
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import CloserWarning
from closer_tf.nn.ensemble import embed as embedded
from closer_tf.training.runs import RunFolder

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 60)
IMAGES = np.clip(RNG.integers(40, 200, (3, 6, 6, 3))[LABELS] + RNG.normal(0, 30, (60, 6, 6, 3)), 0, 255).astype(np.uint8)
SHARED = {
    "num_encoders": 3,
    "encoder": {"type": "mlp", "hidden": [6], "embedding_dim": 4, "dropout": 0.2},
    "training": {"epochs": 2, "batch_size": 10, "keep_checkpoints": 9, "validation_fraction": 0.25},
    "readout": {"after_training": False},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run on images and one on a session."""
    folder = tmp_path_factory.mktemp("embed")
    np.savez(
        folder / "a.npz",
        x_train=IMAGES[:40],
        y_train=np.array(["x", "y", "z"])[LABELS[:40]],
        x_test=IMAGES[40:],
        y_test=np.array(["x", "y", "z"])[LABELS[40:]],
    )
    content = {
        **SHARED,
        "dataset": {"name": "arrays", "path": str(folder / "a.npz")},
        "masks": {"scheme": "gaussian", "fraction": 0.3},
    }
    session_of().save(folder / "s.npz")
    recorded = {
        **SHARED,
        "num_encoders": 2,
        "condition": "tcloser",
        "dataset": {"name": "session", "path": str(folder / "s.npz"), "standardise": True},
        "masks": {"scheme": "areas"},
    }
    for name, config in (("images", content), ("neurons", recorded)):
        (folder / f"{name}.json").write_text(json.dumps(config))
        assert train.main([str(folder / f"{name}.json"), "--run-dir", str(folder / name)]) == 0
    return folder


def session_of(trials=5, areas="AAABB", scale=1.0, bin_width=0.03):
    rng = np.random.default_rng(trials)
    stimuli = {name: rng.poisson(scale, (trials, 8, len(areas))) for name in ("one", "two")}
    return Session("s", np.arange(len(areas))[::-1].copy(), np.array(list(areas))[::-1].copy(), bin_width, stimuli)


def run_of(made, name="images"):
    return RunFolder(made / name)


def load(path):
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def test_a_runs_own_data(made, tmp_path, capsys):
    out = tmp_path / "e.npz"
    assert embed.main([str(made / "images"), "-o", str(out)]) == 0
    assert "60 samples x 3 encoders x 4 dimensions, after epoch 2" in capsys.readouterr().out
    found = load(out)
    model = keras.saving.load_model(made / "images" / "ensemble.keras")
    assert found["embeddings"].dtype == np.float32 and found["embeddings"].shape == (60, 3, 4)
    assert found["splits"].tolist() == ["train"] * 30 + ["validation"] * 10 + ["test"] * 20
    where = found["positions"] + np.where(found["splits"] == "test", 40, 0)
    assert sorted(where.tolist()) == list(range(60))
    np.testing.assert_array_equal(found["labels"], LABELS[where])
    np.testing.assert_allclose(found["embeddings"], model.predict(IMAGES[where], verbose=0), rtol=1e-5, atol=1e-6)
    assert found["label_names"].tolist() == ["x", "y", "z"] and found["encoders"].tolist() == [0, 1, 2]
    about = json.loads(str(found["about"]))
    assert (about["epochs"], about["step"], about["condition"], about["run"]) == (2, 0, "closer", "images")
    assert about["data"] == run_of(made).read_data()["fingerprint"] and about["shape"] == [60, 3, 4]


def test_parts_encoders_and_epochs(made, tmp_path):
    whole = embed_of(made, tmp_path / "whole.npz")
    part = embed_of(made, tmp_path / "part.npz", "--splits", "test,train", "--encoders", "2,0")
    assert part["splits"].tolist() == ["test"] * 20 + ["train"] * 30 and part["encoders"].tolist() == [2, 0]
    expected = np.concatenate([whole["embeddings"][40:], whole["embeddings"][:30]])[:, [2, 0]]
    np.testing.assert_allclose(part["embeddings"], expected, rtol=1e-5, atol=1e-6)
    first, last, untrained = (embed_of(made, tmp_path / f"{k}.npz", "--epoch", str(k)) for k in (1, 2, 0))
    np.testing.assert_allclose(last["embeddings"], whole["embeddings"], rtol=1e-5, atol=1e-6)
    assert not np.allclose(first["embeddings"], whole["embeddings"]) and not np.allclose(
        first["embeddings"], untrained["embeddings"]
    )
    assert json.loads(str(untrained["about"]))["condition"] == "untrained"


def embed_of(made, out, *arguments, name="images"):
    assert embed.main([str(made / name), "-o", str(out), *arguments]) == 0
    return load(out)


def test_a_table(made, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "e.parquet"
    assert embed.main([str(made / "images"), "-o", str(out), "--encoders", "1"]) == 0
    table, arrays = parquet.read_table(out), embed_of(made, tmp_path / "e.npz", "--encoders", "1")
    assert table.column_names == ["labels", "splits", "positions", "label_names", "encoder_1"]
    np.testing.assert_array_equal(np.stack(table["encoder_1"].to_numpy()), arrays["embeddings"][:, 0])
    assert str(table.schema.field("encoder_1").type) == "fixed_size_list<element: float>[4]" or "float" in str(table.schema)
    for name in ("labels", "splits", "positions"):
        np.testing.assert_array_equal(table[name].to_numpy(), arrays[name])
    assert table["label_names"].to_pylist() == np.array(["x", "y", "z"])[arrays["labels"]].tolist()
    assert json.loads(table.schema.metadata[b"closer_tf"])["encoders"] == [1]


def test_a_table_without_pyarrow(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(embed, "find_spec", lambda name: None)
    assert embed.main([str(made / "images"), "-o", str(tmp_path / "e.parquet")]) == 2
    assert "Parquet needs pyarrow: pip install pyarrow, or write" in capsys.readouterr().err


def test_other_images(made, tmp_path):
    own = embed_of(made, tmp_path / "own.npz", "--splits", "test")
    np.savez(tmp_path / "x.npz", x=IMAGES[40:], y=np.array(["u", "v", "w"])[LABELS[40:]])
    found = embed_of(made, tmp_path / "f.npz", "--data", str(tmp_path / "x.npz"))
    np.testing.assert_allclose(found["embeddings"], own["embeddings"], rtol=1e-5, atol=1e-6)
    assert found["label_names"].tolist() == ["u", "v", "w"] and found["labels"].tolist() == LABELS[40:].tolist()
    np.savez(tmp_path / "two.npz", x_train=IMAGES[:3], x_new=IMAGES[40:45].astype(np.float64))
    found = embed_of(made, tmp_path / "g.npz", "--data", str(tmp_path / "two.npz"))
    assert found["splits"].tolist() == ["train"] * 3 + ["new"] * 5 and "labels" not in found
    np.testing.assert_allclose(found["embeddings"][3:], own["embeddings"][:5], rtol=1e-5, atol=1e-6)
    for k, label in enumerate(LABELS[40:50]):
        (tmp_path / "folder" / "xyz"[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[40 + k]).save(tmp_path / "folder" / "xyz"[label] / f"{k}.png")
    found = embed_of(made, tmp_path / "h.npz", "--data", str(tmp_path / "folder"))
    numbers = [int(name[2:-4]) for name in found["files"]]
    assert found["labels"].tolist() == LABELS[40:50][numbers].tolist() and found["label_names"].tolist() == ["x", "y", "z"]
    np.testing.assert_allclose(found["embeddings"], own["embeddings"][numbers], rtol=1e-5, atol=1e-6)


def greys(folder, images):
    """A folder of 16-bit grey images (n, 6, 6)."""
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image.astype(np.uint16)).save(folder / f"{k:02}.png")
    return folder


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """(a folder with a run on images of 12 bits in 16, those images), the first of which are dark."""
    folder = tmp_path_factory.mktemp("camera")
    images = RNG.integers(0, 4001, (30, 6, 6)) // np.where(np.arange(30) < 6, 20, 1)[:, None, None]
    images[-1, 0, 0] = 4000
    content = {
        **SHARED,
        "dataset": {"name": "image_folder", "path": str(greys(folder / "all", images)), "image_size": 6},
        "masks": {"scheme": "gaussian", "fraction": 0.3},
    }
    (folder / "deep.json").write_text(json.dumps(content))
    with pytest.warns(CloserWarning, match="4095 is taken for white"):
        assert train.main([str(folder / "deep.json"), "--run-dir", str(folder / "deep")]) == 0
    return folder, images


def embedded_greys(camera, images):
    """What the run's encoders say of grey images whose white is 4095."""
    model = keras.saving.load_model(camera[0] / "deep" / "ensemble.keras")
    pixels = np.rint(np.clip(images * (255 / 4095), 0, 255))
    return model.predict(np.repeat(pixels[..., None], 3, axis=3).astype(np.uint8), verbose=0)


@pytest.mark.parametrize("chosen, factor", [(slice(0, 6), 1), (slice(6, 10), 0.05), (slice(6, 30), 0.2)])
def test_what_was_white_in_the_training_is_white_in_other_images(camera, tmp_path, chosen, factor, capsys):
    folder, images = camera
    others = np.rint(images[chosen] * factor)
    assert others.max() <= 1023  # alone they suggest 255 or 1023
    found = embed_of(folder, tmp_path / "e.npz", "--data", str(greys(tmp_path / "others", others)), name="deep")
    np.testing.assert_allclose(found["embeddings"], embedded_greys(camera, others), rtol=1e-5, atol=1e-6)
    assert json.loads(str(found["about"]))["white_level"] == 4095 and "note" not in capsys.readouterr().out


def test_what_is_brighter_than_the_trainings_white_is_white(camera, tmp_path):
    folder, images = camera
    with pytest.warns(CloserWarning, match="others: 4 grey images exceed the white level 4095; what is brighter becomes white"):
        found = embed_of(folder, tmp_path / "e.npz", "--data", str(greys(tmp_path / "others", 4 * images[10:14])), name="deep")
    np.testing.assert_allclose(found["embeddings"], embedded_greys(camera, 4 * images[10:14]), rtol=1e-5, atol=1e-6)


def test_fractions_are_not_embedded_by_another_white(camera, tmp_path, capsys):
    folder, images = camera
    (tmp_path / "others").mkdir()
    for k, image in enumerate(images[10:14]):
        Image.fromarray((image / 4095).astype(np.float32)).save(tmp_path / "others" / f"{k}.tif")
    arguments = [str(folder / "deep"), "-o", str(tmp_path / "e.npz"), "--data", str(tmp_path / "others")]
    assert embed.main(arguments) == 2
    said = capsys.readouterr().err
    assert "others: grey images: float32 from" in said and "white is 4095 in what the encoders were trained on" in said


def test_a_run_from_before_guesses_white_and_says_so(camera, tmp_path, capsys):
    folder, images = camera
    old = tmp_path / "deep"
    shutil.copytree(folder / "deep", old)
    record = json.loads((old / "data.json").read_text())
    assert record.pop("white_level") == 4095
    others = greys(tmp_path / "others", images[:6])
    for kept in (json.dumps(record), None):
        (old / "data.json").write_text(kept) if kept else (old / "data.json").unlink()
        found = embed_of(tmp_path, tmp_path / "e.npz", "--data", str(others), "--force", name="deep")
        assert json.loads(str(found["about"]))["white_level"] == 255
        assert f"not known; 255 is taken for {others}" in capsys.readouterr().out
    (old / "data.json").write_text(json.dumps({**record, "white_level": -1}))
    assert embed.main([str(old), "-o", str(tmp_path / "f.npz"), "--data", str(others)]) == 2
    assert "data.json: damaged" in capsys.readouterr().err


def test_the_runs_own_data_is_not_needed_for_other(made, tmp_path):
    np.savez(tmp_path / "x.npz", x=IMAGES[40:])
    gone = made / "a.npz"
    gone.rename(made / "away.npz")
    try:
        embed_of(made, tmp_path / "f.npz", "--data", str(tmp_path / "x.npz"))
        assert embed.main([str(made / "images"), "-o", str(tmp_path / "g.npz")]) == 2
    finally:
        (made / "away.npz").rename(gone)


@pytest.mark.parametrize(
    "arrays, says",
    [
        (dict(x=IMAGES[:, :5]), "expected images of shape (6, 6, 3), as the run was trained on, found (5, 6, 3)"),
        (dict(x=IMAGES[..., 0]), "found (6, 6, 1)"),
        (dict(x=(IMAGES / 255).astype(np.float32)), "prepare both in the same way"),
        (dict(x=IMAGES.astype(np.uint16) * 257), "prepare both in the same way"),
        (dict(z=IMAGES), "no images: expected an array 'x'"),
        (dict(x=np.array(["a"])), "x: expected numbers"),
        (dict(x=IMAGES * np.nan), "holds values that are not finite"),
        (dict(x=IMAGES, y=LABELS[:3]), "y: expected 60 labels, one per image, found shape (3,)"),
        (dict(x=IMAGES, x_test=IMAGES[:, :5]), "images of different shapes"),
    ],
)
def test_data_of_another_kind_is_refused(made, tmp_path, arrays, says, capsys):
    np.savez(tmp_path / "x.npz", **arrays)
    assert embed.main([str(made / "images"), "-o", str(tmp_path / "e.npz"), "--data", str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and not (tmp_path / "e.npz").exists()


def test_larger_values_are_warned_of(made, tmp_path):
    np.savez(tmp_path / "x.npz", x=IMAGES[:4].astype(np.float32) * 3)
    with pytest.warns(CloserWarning, match="encoders have seen no such values"):
        embed.embed_run(made / "images", tmp_path / "e.npz", data=tmp_path / "x.npz")


def test_recordings(made, tmp_path):
    own = embed_of(made, tmp_path / "own.npz", name="neurons")
    assert own["areas"].tolist() == ["A", "B"] and {"trials", "frames", "stimulus_numbers"} <= set(own)
    chosen = embed_of(made, tmp_path / "b.npz", "--encoders", "B", name="neurons")
    np.testing.assert_allclose(chosen["embeddings"][:, 0], own["embeddings"][:, 1], rtol=1e-5, atol=1e-6)
    same = embed_of(made, tmp_path / "same.npz", "--data", str(made / "s.npz"), name="neurons")
    assert len(same["embeddings"]) == 2 * 5 * 8 and same["label_names"].tolist() == ["one", "two"]
    at = {key: k for k, key in enumerate(zip(same["labels"], same["trials"], same["frames"]))}
    rows = [at[key] for key in zip(own["stimulus_numbers"], own["trials"], own["frames"])]
    np.testing.assert_allclose(same["embeddings"][rows], own["embeddings"], rtol=1e-5, atol=1e-6)
    session_of(trials=1).save(tmp_path / "one.npz")  # too few trials to train on, enough to embed
    assert len(embed_of(made, tmp_path / "one_e.npz", "--data", str(tmp_path / "one.npz"), name="neurons")["embeddings"]) == 16


def test_bins_of_another_width_are_warned_of(made, tmp_path):
    for width in (0.0301, 0.06):
        session_of(bin_width=width).save(tmp_path / f"{width}.npz")
    with pytest.warns(CloserWarning, match="bins of 0.06 s, those that the run was trained on are of 0.03 s"):
        embed.embed_run(made / "neurons", tmp_path / "e.npz", data=tmp_path / "0.06.npz")
    embed.embed_run(made / "neurons", tmp_path / "f.npz", data=tmp_path / "0.0301.npz")  # a warning would fail


def test_labels_are_those_that_a_training_takes(made, tmp_path):
    np.savez(tmp_path / "x.npz", x=IMAGES[:6], y=LABELS[:6, None].astype(np.float64))
    embed.embed_run(made / "images", tmp_path / "e.npz", data=tmp_path / "x.npz")
    assert load(tmp_path / "e.npz")["labels"].tolist() == LABELS[:6].tolist()


@pytest.mark.parametrize(
    "areas, says", [("AAAB", "area 'B': 1 units"), ("AABBB", "area 'A': 2 units"), ("AAABBC", "6 units, the run")]
)
def test_other_units_are_refused(made, tmp_path, areas, says, capsys):
    session_of(areas=areas).save(tmp_path / "s.npz")
    assert embed.main([str(made / "neurons"), "-o", str(tmp_path / "e.npz"), "--data", str(tmp_path / "s.npz")]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["-o", "e.txt"], "expected a name that ends in .npz or .parquet"),
        (["-o", "nowhere/e.npz"], "there is no folder nowhere"),
        (["-o", "e.npz", "--splits", "tset"], "--splits: expected some of train, validation, test, found tset"),
        (["-o", "e.npz", "--splits", ""], "--splits: expected some of"),
        (["-o", "e.npz", "--encoders", "3"], "--encoders: expected different numbers from 0 to 2; found 3"),
        (["-o", "e.npz", "--encoders", "1,1"], "--encoders: expected different numbers"),
        (["-o", "e.npz", "--epoch", "7"], "--epoch 7: no weights of that moment; expected 0 (untrained) or one of: 1, 2"),
        (["-o", "e.npz", "--epoch", "-1"], "--epoch -1: no weights"),
        (["-o", "e.npz", "--data", "none.npz"], "none.npz: no such file or folder"),
        (["-o", "e.npz", "--set", "seed=5"], "would make this another run"),
    ],
)
def test_mistakes(made, tmp_path, monkeypatch, arguments, says, capsys):
    monkeypatch.chdir(tmp_path)
    assert embed.main([str(made / "images"), *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["-o", "e.txt"], ["-o", "e.npz", "--encoders", "3"], ["-o", "e.npz", "--data", "none"]])
def test_mistakes_show_before_keras_is_imported(made, tmp_path, monkeypatch, arguments, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embed, "import_keras", lambda: pytest.fail("Keras comes later"))
    assert embed.main([str(made / "images"), *arguments]) == 2
    assert embed.main(["nowhere", "-o", "e.npz"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_file_is_replaced_only_on_demand(made, tmp_path, capsys):
    out = tmp_path / "e.npz"
    out.write_text("mine")
    assert embed.main([str(made / "images"), "-o", str(out)]) == 2
    assert "is there already; choose another name, or replace it with --force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert embed.main([str(made / "images"), "-o", str(out), "--force", "--epoch", "9"]) == 2 and out.read_text() == "mine"
    assert embed.main([str(made / "images"), "-o", str(out), "--force"]) == 0
    assert load(out)["embeddings"].shape == (60, 3, 4) and [path.name for path in tmp_path.iterdir()] == ["e.npz"]


def test_changed_data_and_unfinished_runs(made, tmp_path, capsys):
    content = json.loads((made / "images.json").read_text())
    np.savez(tmp_path / "b.npz", x_train=IMAGES[:40], y_train=LABELS[:40], x_test=IMAGES[40:], y_test=LABELS[40:])
    content |= {"dataset": {"name": "arrays", "path": str(tmp_path / "b.npz")}}
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert train.main([str(tmp_path / "b.json"), "--run-dir", str(tmp_path / "b")]) == 0
    whole = embed_of(tmp_path, tmp_path / "whole.npz", name="b")
    (tmp_path / "b" / "ensemble.keras").unlink()  # as before the end
    np.testing.assert_allclose(
        embed_of(tmp_path, tmp_path / "e.npz", name="b")["embeddings"], whole["embeddings"], rtol=1e-5, atol=1e-6
    )
    np.savez(tmp_path / "b.npz", x_train=255 - IMAGES[:40], y_train=LABELS[:40], x_test=IMAGES[40:], y_test=LABELS[40:])
    assert embed.main([str(tmp_path / "b"), "-o", str(tmp_path / "f.npz")]) == 2
    assert "is not what this run was trained on: training set: inputs differ" in capsys.readouterr().err
    arguments = ["--run-dir", str(tmp_path / "raw"), "--set", "condition=masked_input"]
    assert train.main([str(tmp_path / "b.json"), *arguments]) == 0
    assert embed.main([str(tmp_path / "raw"), "-o", str(tmp_path / "f.npz")]) == 2
    assert "there are no encoders to embed with" in capsys.readouterr().err


def test_the_same_numbers_as_the_readout_sees(made, tmp_path):
    from closer_tf.evaluate import trained_ensemble

    run = run_of(made)
    config = run.load_config()
    data = load_data(
        "arrays", validation_fraction=0.25, validation_seed=config.seeds.validation_split, path=str(made / "a.npz")
    )
    model, _, _ = trained_ensemble(run, config, data)
    found = embed_of(made, tmp_path / "e.npz", "--splits", "validation")
    np.testing.assert_allclose(found["embeddings"], embedded(model, data.validation.inputs), rtol=1e-5, atol=1e-6)
