"""The run configs that ship with the package, which go by their names: 'quickstart' is run_configs/quickstart.json."""

import os
import re
from pathlib import Path

from closer_tf.common.files import given_path
from closer_tf.config.base import suggestion
from closer_tf.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder() -> Path:
    """The folder of the run configs that ship with the package: inside it where it was installed, beside it in a clone."""
    installed = PACKAGE / "run_configs"
    return installed if installed.is_dir() else PACKAGE.parent / "run_configs"


def shipped_names(kind: str = ".") -> list[str]:
    """The names of the run configs that ship with the package, or with kind 'sweeps' of the sweeps, sorted."""
    return sorted(path.stem for path in (shipped_folder() / kind).glob("*.json"))


def config_file(given: str | os.PathLike, folder: str | os.PathLike = ".", kind: str = ".") -> Path:
    """The file that somebody means.

    Args:
        given: a path, or the bare name of a config that ships with the package, such as 'quickstart'.
        folder: where a relative path begins.
        kind: '.' for run configs, 'sweeps' for sweeps.

    Returns:
        `Path`. A bare name is the file of that name where there is one. That a path leads to a file is not checked.

    Raises:
        ConfigError: a bare name is neither a file nor one that ships with the package.
    """
    path = Path(folder) / given_path(given)
    if not re.fullmatch(r"\w+", str(given)) or path.is_file():
        return path
    names = shipped_names(kind)
    if str(given) not in names:
        hint = suggestion(given, names)
        raise ConfigError(f"{given}: no such file, and none that ships with closer_tf.{hint} Those are: {', '.join(names)}")
    return shipped_folder() / kind / f"{given}.json"
