"""Take a trained ensemble out of its run folder: `python -m closer_tf.export RUN_DIR --to DIR`.

saved_model/      a TensorFlow SavedModel; TensorFlow alone loads and runs it
ensemble.keras    the ensemble for Keras, without the optimizer's state
ensemble.onnx     the ensemble for ONNX runtimes, when asked for
model_card.json   what it is, how well it reads out, how closely the exports agree with it, and the files' checksums

The SavedModel and ONNX are made by TensorFlow. `--keras-only` leaves both out, and runs on any backend.

Masks and input scaling are inside. Everything is written aside, loaded again from there and compared with `predict`, and
moved into place only if it agrees.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.common.backend import is_installed, products_in, stderr_set_aside
from closer_tf.common.command import add_overrides, add_plugins, add_version, command_parser, run_command
from closer_tf.common.files import given_path, write_atomically
from closer_tf.errors import CloserError, ExportError
from closer_tf.model_card import LOADING, checksums, describe_run, describe_stimuli
from closer_tf.training.runs import RunFolder, versions

if TYPE_CHECKING:
    from closer_tf.nn.ensemble import CLoSeR

SAME_BATCH, ACROSS_BATCHES, ONNX = 1e-6, 1e-5, 1e-4
"""Largest allowed differences from `predict`, as parts of the largest |embedding|."""

CHECKED = 1000  # stimuli in the comparison, in one batch
ONE_BY_ONE = 50  # of which this many are embedded one by one as well

EPILOG = """examples:
  python -m closer_tf.export runs/quickstart --to exports/digits
  python -m closer_tf.export runs/quickstart --to exports/digits_onnx --onnx
  python -m closer_tf.export runs/mlp_gaussian --to exports/cifar --set dataset.data_dir=DIR
  python -m closer_tf.export runs/quickstart --to exports/digits_keras --keras-only

In Python, with TensorFlow alone:
  model = tf.saved_model.load("exports/digits/saved_model")
  model.ensemble(images)    # (batch, encoders, dimensions), for float32 images (batch, height, width, channels)
  model.embed(images)       # (batch, encoders * dimensions)
  model.encoder_0(images)   # (batch, dimensions)

exit codes: 0 done, 2 a mistake that the message explains, or an export that does not agree with the run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.export",
        "Export a run's ensemble as a SavedModel, for Keras and, if asked for, as ONNX, with a model card.",
        EPILOG,
    )
    parser.add_argument("run_dir", help="a run folder made by closer_tf.train")
    parser.add_argument("--to", required=True, metavar="DIR", help="the folder to make")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--onnx", action="store_true", help="export to ONNX too (needs: pip install 'closer_tf[onnx]')")
    formats.add_argument("--keras-only", action="store_true", help="no SavedModel, so that TensorFlow is not needed")
    add_overrides(parser, "override where the data lies, such as dataset.data_dir=DIR; its test stimuli are what is compared")
    add_plugins(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), plugins=options.plugins)


def _main(options):
    card = export_run(options.run_dir, options.to, options.onnx, options.overrides, not options.keras_only)
    print(f"compared with predict on {card['parity']['stimuli']}; differences as parts of the largest |embedding|:")
    for name, found in card["parity"]["differences"].items():
        print(f"  {name:32} {found['found']:.1e}  (allowed {found['allowed']:.0e})")
    size = sum(file["bytes"] for file in card["files"].values())
    print(f"exported: {options.to}, {len(card['files'])} files, {size / 2**20:.1f} MB, and model_card.json")


def export_run(
    run_dir: str | os.PathLike,
    to: str | os.PathLike,
    onnx: bool = False,
    overrides: Sequence[str] = (),
    saved_model: bool = True,
) -> dict[str, Any]:
    """Export the ensemble of a finished run.

    Args:
        run_dir: the run folder.
        to: the folder to make.
        onnx: export to ONNX too.
        overrides: strings 'key.path=value' for where the data lies.
        saved_model: export as a SavedModel too.

    Returns:
        dict, the content of model_card.json.

    Raises:
        RunError: there is no finished run.
        ExportError: as `export_ensemble`.
    """
    _check_target(to)
    run = RunFolder(run_dir)
    config = run.load_config(overrides)
    ensemble = run.load_ensemble()
    stimuli, named, trained_on = _stimuli(run, config, ensemble)
    about = {**describe_run(run, config), "training_inputs": trained_on}
    return export_ensemble(ensemble, to, stimuli, onnx, about, named, saved_model)


def export_ensemble(
    ensemble: CLoSeR,
    to: str | os.PathLike,
    stimuli: np.ndarray,
    onnx: bool = False,
    about: dict[str, Any] | None = None,
    stimuli_name: str = "the given stimuli",
    saved_model: bool = True,
) -> dict[str, Any]:
    """Export a trained ensemble, with or without a run.

    Args:
        ensemble: `CLoSeR` model.
        to: the folder to make.
        stimuli: array (n, ...), what the exports are compared on; rows of as many values as an input has are taken as well.
        onnx: export to ONNX too.
        about: dict, what else the model card shall say.
        stimuli_name: what to call the stimuli in the model card.
        saved_model: export as a SavedModel too.

    Returns:
        dict, the content of model_card.json.

    Raises:
        ExportError: the folder is there already or cannot be made, the stimuli are none of the ensemble's, a library is
            missing, or an export differs from `predict`. Nothing is left behind.
    """
    _check_target(to)
    if saved_model or onnx:
        _check_backend()
    if onnx:
        _check_onnx()
    to = given_path(to)
    stimuli = _as_its_inputs(ensemble, np.asarray(stimuli, dtype="float32"))
    stimuli = stimuli[np.arange(CHECKED) % len(stimuli)]
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.writing-", dir=to.parent) as aside:
            folder = Path(aside) / to.name
            folder.mkdir()
            with products_in("float32"):
                if saved_model:
                    write_saved_model(ensemble, folder / "saved_model")
                _write_keras(ensemble, folder / "ensemble.keras")
                if onnx:
                    write_onnx(ensemble, folder / "ensemble.onnx")
                differences = _compare(ensemble, folder, stimuli)
            card = {
                "model": _describe_model(ensemble, saved_model),
                "loading": {name: code for name, code in LOADING.items() if (folder / name).exists()},
                **(about or {}),
                "parity": {"stimuli": stimuli_name, "differences": differences},
                "exported_with": versions(),
                "files": checksums(folder),
            }
            write_atomically(folder / "model_card.json", json.dumps(card, indent=2, allow_nan=False) + "\n")
            _move(folder, to)
    except OSError as error:
        raise ExportError(f"{to}: could not be written: {error.strerror or error}") from error
    return card


def write_saved_model(ensemble: CLoSeR, folder: str | os.PathLike) -> None:
    """Write a SavedModel with the signatures `ensemble`, `embed` and `encoder_0`, `encoder_1`, ..., all for any batch size.

    Args:
        ensemble: `CLoSeR` model. It is traced with `training=False`, so that nothing in it is random.
        folder: the folder to make.
    """
    import keras

    signature = [keras.InputSpec(shape=(None, *ensemble.input_shape[1:]), dtype="float32")]
    archive = keras.export.ExportArchive()
    archive.add_endpoint("ensemble", _inference(ensemble), signature)
    archive.add_endpoint("embed", _inference(_with_output(ensemble, _joined(ensemble))), signature)
    for i, embedding in enumerate(ensemble.get_layer("embeddings").input):
        archive.add_endpoint(f"encoder_{i}", _inference(_with_output(ensemble, embedding)), signature)
    with stderr_set_aside():
        archive.write_out(str(folder), verbose=False)


def write_onnx(ensemble: CLoSeR, path: str | os.PathLike) -> None:
    """Write an ONNX file from `stimulus` to `ensemble` (B, N, D) and `embed` (B, N * D).

    Args:
        ensemble: `CLoSeR` model.
        path: the file.
    """
    import keras

    stimulus = keras.Input(ensemble.input_shape[1:], name="stimulus")
    embeddings = _without_captures(ensemble)(stimulus, training=False)
    joined = keras.layers.Flatten(name="embed")(embeddings)
    model = keras.Model(stimulus, {"ensemble": embeddings, "embed": joined})
    model(np.zeros((1, *ensemble.input_shape[1:]), dtype="float32"))  # Keras exports no model that was never called
    with warnings.catch_warnings(), stderr_set_aside():
        warnings.simplefilter("ignore")  # of deprecated NumPy names in the converter
        model.export(str(path), format="onnx", verbose=False)


def _without_captures(ensemble):
    """A copy whose normalisation is a plain scale and offset: the converter takes the constants of Keras's layer for inputs."""
    import keras

    def copied(layer):
        if isinstance(layer, keras.layers.Normalization):
            mean, sd = np.array(layer.mean).ravel(), np.sqrt(np.array(layer.variance).ravel())
            return keras.layers.Rescaling((1 / sd).tolist(), (-mean / sd).tolist(), name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(ensemble, clone_function=copied)
    copy.set_weights(ensemble.get_weights())
    return copy


def _inference(model):
    def embed(stimulus):
        return model(stimulus, training=False)

    return embed


def _with_output(ensemble, output):
    import keras

    return keras.Model(ensemble.input, output)


def _joined(ensemble):
    import keras

    return keras.layers.Flatten()(ensemble.output)


def _write_keras(ensemble, path):
    copy = type(ensemble).from_config(ensemble.get_config())  # never compiled: without loss, optimizer and their state
    copy.set_weights(ensemble.get_weights())
    copy.save(path)


def _compare(ensemble, folder, stimuli):
    """What differs between the exports, as loaded from the disk, and `predict`.

    Returns:
        dict what -> `found` and `allowed`, parts of the largest |embedding|.

    Raises:
        ExportError: a difference is larger than allowed.
    """
    import keras

    expected = ensemble.predict(stimuli, batch_size=len(stimuli), verbose=0)
    again = keras.saving.load_model(folder / "ensemble.keras")
    found = {"keras": (again.predict(stimuli, batch_size=len(stimuli), verbose=0) - expected, SAME_BATCH)}
    if (folder / "saved_model").exists():
        found |= _compare_saved_model(folder / "saved_model", stimuli, expected)
    if (folder / "ensemble.onnx").exists():
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "ensemble.onnx"), providers=["CPUExecutionProvider"])
        by_onnx, embed = session.run(["ensemble", "embed"], {"stimulus": stimuli})
        joined = expected.reshape(len(expected), -1)
        found["onnx ensemble"], found["onnx embed"] = (by_onnx - expected, ONNX), (embed - joined, ONNX)
    largest = float(np.abs(expected).max()) or 1.0
    report = {}
    for name, (difference, allowed) in found.items():
        part = float(np.abs(difference).max()) / largest
        if not part <= allowed:  # not a number is a difference too
            raise ExportError(f"{name}: differs from predict by {part:.1e} of the largest |embedding|, allowed {allowed:.0e}")
        report[name] = {"found": part, "allowed": allowed}
    return report


def _compare_saved_model(folder, stimuli, expected):
    """dict what -> (its differences from `expected`, the allowed part) for each signature of a SavedModel."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    joined = expected.reshape(len(expected), -1)
    single = [np.asarray(loaded.ensemble(stimuli[k : k + 1])) for k in range(ONE_BY_ONE)]
    first = np.asarray(loaded.ensemble(stimuli))
    encoders = [np.asarray(getattr(loaded, f"encoder_{i}")(stimuli)) for i in range(expected.shape[1])]
    return {
        "saved_model ensemble": (first - expected, SAME_BATCH),
        "saved_model embed": (np.asarray(loaded.embed(stimuli)) - joined, SAME_BATCH),
        "saved_model encoder_i": (np.stack(encoders, axis=1) - expected, SAME_BATCH),
        "saved_model one by one": (np.concatenate(single) - expected[:ONE_BY_ONE], ACROSS_BATCHES),
        "saved_model called twice": (np.asarray(loaded.ensemble(stimuli)) - first, 0),
    }


def _describe_model(ensemble, saved_model):
    _, encoders, width = ensemble.output_shape
    signatures = {
        "ensemble": ["batch", encoders, width],
        "embed": ["batch", encoders * width],
        **{f"encoder_{i}": ["batch", width] for i in range(encoders)},
    }
    return {
        "num_encoders": encoders,
        "embedding_dim": width,
        "parameters": ensemble.count_params(),
        "input": {
            "shape": ["batch", *ensemble.input_shape[1:]],
            "dtype": "float32",
            "values": "as the data source holds them; the model scales them itself",
        },
        **({"signatures": signatures} if saved_model else {}),
    }


def _stimuli(run, config, ensemble):
    """(stimuli, what they are, what the training's were): the run's test stimuli, or random ones where the data is no longer
    there or has changed."""
    from closer_tf.training.experiment import check_units, load_splits

    try:
        data = load_splits(config).current()
        run.check_data(data, config)
        check_units(run.load_masks(), data)
        named = f"{min(len(data.test), CHECKED)} test stimuli of {data.name}"
        white = (data.identity or {}).get("white_level")
        return data.test.inputs[:CHECKED], named, describe_stimuli(data.train.inputs, white)
    except CloserError as error:
        largest = 1 / float(ensemble.get_layer("input_scale").scale)
        shape = (CHECKED, *ensemble.input_shape[1:])
        stimuli = np.random.default_rng(0).uniform(0, largest, shape)
        return stimuli, f"random stimuli, since the run's are not to be had: {error}", None


def _as_its_inputs(ensemble, stimuli):
    """Stimuli (n, ...) of the ensemble's shape; rows, as scikit-learn takes them, brought to it."""
    shape = tuple(ensemble.input_shape[1:])
    if stimuli.ndim == 2 and None not in shape and stimuli.shape[1] == np.prod(shape):
        stimuli = stimuli.reshape(-1, *shape)
    fits = stimuli.ndim == len(shape) + 1 and all(wanted in (None, given) for wanted, given in zip(shape, stimuli.shape[1:]))
    if not fits or not len(stimuli):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ExportError(f"stimuli: expected one or more of shape ({expected}), found an array of shape {stimuli.shape}")
    return stimuli


def _check_target(to):
    to = given_path(to)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ExportError(f"{to}: is there already; choose another folder with --to, or remove it")


def _check_backend():
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        remedy = "set KERAS_BACKEND=tensorflow" if is_installed("tensorflow") else "pip install 'closer_tf[tensorflow]'"
        raise ExportError(
            f"a SavedModel and ONNX need TensorFlow as Keras's backend, found '{backend}': {remedy}, "
            "or export ensemble.keras alone, with --keras-only (in Python: saved_model=False)"
        )


def missing_for_onnx() -> list[str]:
    """The libraries that ONNX exports need and that are not installed."""
    return [name for name in ("onnx", "tf2onnx", "onnxruntime") if find_spec(name) is None]


def _check_onnx():
    missing = missing_for_onnx()
    if missing:
        raise ExportError(f"ONNX export needs {', '.join(missing)}: pip install 'closer_tf[onnx]'")


def _move(folder, to):
    if to.exists():
        to.rmdir()  # empty, as was checked; fails if something came in meanwhile
    os.rename(folder, to)


if __name__ == "__main__":
    raise SystemExit(main())
