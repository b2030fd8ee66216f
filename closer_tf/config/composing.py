"""Run configs that stand on others: a file names another as its `base` and gives only what is different.

A config is read as layers, the file's own keys first, then those of its base, and so on; `compose` merges them, and `place_of`
says in which file a key stands.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from closer_tf.config.base import KIND_KEYS, json_kind
from closer_tf.config.files import read_json
from closer_tf.config.shipped import config_file
from closer_tf.config.training import drop_derived_seeds
from closer_tf.errors import ConfigError

Layers = Sequence[tuple[Any, dict[str, Any]]]
"""(file, or what to call it; content) of a config and of those that it stands on, as from `read_layers`."""

_SAY_NOTHING = ("seed", "seeds", "readout", "compute", "deterministic", "description", "$schema")  # no description is of them
_PLACES = ("dataset.data_dir", "training.checkpoint_every", "training.checkpoint_minutes", "training.keep_checkpoints")


def read_layers(path: str | os.PathLike, folder: str | os.PathLike = ".") -> list[tuple[Path, dict[str, Any]]]:
    """Read a config file and those that it stands on.

    Args:
        path: the file, or the bare name of a run config that ships with the package.
        folder: where a relative path begins.

    Returns:
        List of (file, content): the file, its base, the base of that, and so on; content is a dict without the key `base`.

    Raises:
        ConfigError: a file is missing, no JSON, or stands on itself. The message names the file and its key `base`.
    """
    file = config_file(path, folder)
    return layers_of(read_json(file), file, file.parent)


def layers_of(
    content: dict[str, Any], source: str | os.PathLike, folder: str | os.PathLike = "."
) -> list[tuple[Any, dict[str, Any]]]:
    """As `read_layers`, for content given as plain data.

    Args:
        content: dict, which may hold the key `base`.
        source: its file, or what to call it in error messages.
        folder: where a relative path in `base` begins.
    """
    layers, seen = [], [_real(source)]
    while True:
        content = dict(content)
        base = content.pop("base", None)
        layers.append((source, content))
        if base is None:
            return layers
        if not isinstance(base, str):
            expected = "expected the path of a run config, or the name of one that ships with closer_tf"
            raise ConfigError(f"{source}: base: {expected}, found {json_kind(base)}")
        try:
            file = config_file(base, folder)
            content = read_json(file)
        except ConfigError as error:
            raise ConfigError(f"{source}: base: {error}") from None
        if _real(file) in seen:
            raise ConfigError(f"{source}: base: {file} stands on this file itself; expected a config that does not")
        seen.append(_real(file))
        source, folder = file, file.parent


def _real(file):
    return os.path.realpath(file)


def compose(layers: Layers) -> dict[str, Any]:
    """The content of layers as one config, as plain data.

    A file that stands on another and has no description of its own is described by what it changes.

    Args:
        layers: as from `read_layers`.

    Raises:
        ConfigError: objects are nested too deeply.
    """
    (below, content), *above = reversed(layers)
    for source, own in above:
        try:
            if "seed" in own:
                content = dict(content)
                drop_derived_seeds(content)
            content = merge(content, own)
        except RecursionError:
            raise ConfigError(f"{source}: nested too deeply") from None
        if "description" not in own:
            content = described(content, Path(below).name, list(_changed_keys(own)))
        below = source
    return content


def merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """One config's keys over another's; both stay as they are.

    Objects merge key by key. Anything else replaces what is in the base, lists included; so does an object that chooses another
    kind (`dataset.name`, `masks.scheme`, `encoder.type`, `objective.graph.family`). null takes the base's key away: its default
    holds.

    Args:
        base, own: dicts.

    Returns:
        dict.
    """
    merged = dict(base)
    for key, value in own.items():
        if value is None and key in base:
            del merged[key]
        elif isinstance(value, dict) and isinstance(base.get(key), dict) and not _of_other_kind(base[key], value):
            merged[key] = merge(base[key], value)
        else:
            merged[key] = value
    return merged


def _of_other_kind(base, own):
    return any(key in base and key in own and base[key] != own[key] for key in KIND_KEYS)


def _changed_keys(own, path=""):
    """The keys that a config sets, dotted; an object that chooses a kind counts as one."""
    for key, value in own.items():
        if isinstance(value, dict) and not any(kind in value for kind in KIND_KEYS):
            yield from _changed_keys(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def described(content: dict[str, Any], name: str, keys: Iterable[str]) -> dict[str, Any]:
    """A config whose description does not say what is no longer so: dropped for other data or another condition, else marked.

    Args:
        content: dict.
        name: of the config that the description was made for.
        keys: list of the keys that have other values now, dotted.

    Returns:
        dict.
    """
    keys = [key for key in dict.fromkeys(keys) if key.split(".")[0] not in _SAY_NOTHING and key not in _PLACES]
    said = content.get("description")
    if not keys or not isinstance(said, str) or not said:
        return content
    changed = f"{name} with other {', '.join(keys)}"
    other = any(key.split(".")[0] in ("dataset", "condition") for key in keys)
    return {**content, "description": changed if other else f"{said} [{changed}]"}


def place_of(key: Sequence[str | int], content: Any, layers: Layers) -> Any:
    """In which file a key of a composed config stands.

    Args:
        key: list of its parts, strings or positions in lists.
        content: what the layers compose to.
        layers: as from `read_layers`.

    Returns:
        The file of the first layer that holds the key; of its nearest parent where the config does not have it.
    """
    key = key[: _depth(key, content)]
    return next(source for source, own in layers if _depth(key, own) == len(key))


def located(message: str, content: Any, layers: Layers) -> str:
    """A message that begins with a key, after the file in which that key stands.

    Args:
        message: such as 'masks.fraction: expected ...'.
        content: what the layers compose to.
        layers: as from `read_layers`.
    """
    return f"{place_of(message.partition(': ')[0].split('.'), content, layers)}: {message}"


def located_in(path: str | os.PathLike, message: str) -> str:
    """As `located`, of the config that a file and those that it stands on make; after the file's name where it can be read once
    only, as a pipe can, or is gone."""
    try:
        layers = read_layers(path)
        return located(message, compose(layers), layers)
    except (ConfigError, OSError):
        return f"{path}: {message}"


def _depth(key, content):
    """How many parts of a key there are in plain data."""
    for depth, part in enumerate(key):
        if isinstance(content, dict) and str(part) in content:
            content = content[str(part)]
        elif isinstance(content, list) and str(part).isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return depth
    return len(key)
