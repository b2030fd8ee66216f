"""What a model card says of the run that an export comes from. Never imports TensorFlow."""

import hashlib
import json
from pathlib import Path

from closer_tf.files import read_text
from closer_tf.summary import without_folders

FROM_RESULTS = ("epochs", "step", "dataset", "simulated", "chance", "samples", "protocol", "areas", "accuracy")


def describe_run(run, config):
    """A run as plain data: its config, how long it was trained, how well it reads out, with which versions.

    Args:
        run: `RunFolder`.
        config: its `RunConfig`.

    Returns:
        dict. `readout` is null for a run that was never read out.
    """
    results, history = run.read_results(), run.read_history()
    versions_file = run.path / "versions.json"
    return {
        "run": run.path.resolve().name,
        "description": config.description,
        "config": without_folders(config.to_dict()),
        "config_digest": config.digest(),
        "trained_epochs": len(history),
        "last_epoch": history[-1] if history else None,
        "readout": {key: results[key] for key in FROM_RESULTS if key in results} or None,
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
