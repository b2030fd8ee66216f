"""Which versions a result was made with."""

import contextlib
import functools
import os
import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("closer_tf", "keras", "tensorflow", "jax", "numpy", "scikit-learn", "scipy", "tensorflow-datasets")


@functools.lru_cache(maxsize=1)
def versions():
    """Versions of Python and the libraries in use, and the machine, as a dict of strings."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    found["cores"] = str(os.cpu_count())
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
