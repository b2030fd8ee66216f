"""Config files as plain data."""

import json
import os
from typing import Any

from closer_tf.common.files import decode_text, given_path
from closer_tf.config.base import json_kind, suggestion
from closer_tf.errors import ConfigError

MAX_BYTES = 10_000_000  # of a config file


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON object that a config file holds.

    Args:
        path: the file.

    Returns:
        dict.

    Raises:
        ConfigError: the file is missing, too long, no JSON or no object, or a key is given twice.
    """
    path = given_path(path)
    if os.path.isdir(path):
        run = f"; the config of this run is {path / 'config.json'}" * (path / "config.json").is_file()
        raise ConfigError(f"{path}: a folder; expected a run config (JSON){run}")
    if path.suffix in (".npz", ".npy", ".nwb", ".h5", ".hdf5") and os.path.isfile(path):
        says = f"closer_tf inspect {path} says what it holds and how to train on it"
        raise ConfigError(f"{path}: holds data; expected a run config (JSON), which names the data; {says}")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_BYTES:,} bytes, which no run config is")
        text = decode_text(content)
    except FileNotFoundError:
        hint = suggestion(path.name, os.listdir(path.parent)) if os.path.isdir(path.parent) else ""
        raise ConfigError(f"{path}: no such config file.{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name that no file can have
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from None
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object {{...}} at the top, found {json_kind(content)}")
    return content


def _without_repeats(pairs):
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise json.JSONDecodeError(f"key '{repeated}' is given more than once in one object", "", 0)
    return content
