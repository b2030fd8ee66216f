"""What a model card says of an export and of the run that it comes from. Never imports TensorFlow."""

import hashlib
import json
from pathlib import Path

from closer_tf.common.files import read_text
from closer_tf.config.identity import without_folders
from closer_tf.data.scales import scale_of
from closer_tf.results import read
from closer_tf.training.checkpoints import kept_epoch

FROM_RESULTS = ("epochs", "step", "dataset", "simulated", "chance", "samples", "protocol", "areas", "accuracy")
LOADING = {
    "saved_model": "import tensorflow as tf; model = tf.saved_model.load('saved_model')",
    "ensemble.keras": "import closer_tf, keras; ensemble = keras.saving.load_model('ensemble.keras')",
    "ensemble.onnx": "import onnxruntime; session = onnxruntime.InferenceSession('ensemble.onnx')",
}
"""How each file of an export is loaded, in Python."""


def describe_stimuli(stimuli, white_level=None):
    """The kind and range of stimuli as plain data, for services to prepare and watch their inputs by.

    Args:
        stimuli: array (n, ...).
        white_level: the stored value that became white in grey images of more than 8 bits; None where there are none.
    """
    scale = scale_of(stimuli)
    white = {} if white_level is None else {"white_level": white_level}
    return {
        "samples": scale.samples,
        "shape": list(stimuli.shape[1:]),
        "dtype": scale.dtype,
        "min": scale.low,
        "max": scale.high,
        "whole_numbers": scale.whole,
        **white,
    }


def describe_run(run, config):
    """A run as plain data: its config, how long it was trained, how well it reads out, with which versions.

    Args:
        run: `RunFolder`.
        config: its `RunConfig`.

    Returns:
        dict. `readout` is null for a run that was never read out; `kept_epoch` is the epoch whose weights the ensemble has,
        null where that is the last (`training.keep`).
    """
    results, history = read(run.results_file), run.read_history()
    known = results.to_dict() if results else {}
    versions_file = run.path / "versions.json"
    return {
        "run": run.path.resolve().name,
        "description": config.description,
        "config": without_folders(config.to_dict()),
        "config_digest": config.digest(),
        "trained_epochs": len(history),
        "last_epoch": history[-1] if history else None,
        "kept_epoch": kept_epoch(config, history),
        "readout": {key: known[key] for key in FROM_RESULTS if key in known} or None,
        "trained_with": json.loads(read_text(versions_file)) if versions_file.exists() else None,
    }


def checksums(folder):
    """The size and SHA-256 of every file below a folder.

    Args:
        folder: the folder.

    Returns:
        dict relative path -> dict with `bytes` and `sha256`.
    """
    folder = Path(folder)
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
