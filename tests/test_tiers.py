"""The quick tests: what is left out names tests that are there, and every module is at least imported."""

import ast
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest
from conftest import MEDIUM

import closer_tf

TESTS = Path(__file__).parent


def test_the_list_of_medium_tests_names_tests():
    known = {
        f"{path.name}::{node.name}"
        for path in TESTS.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert not MEDIUM - known, "take these out of tests/medium.txt, or give them their new names"


@pytest.mark.tensorflow
def test_every_module_can_be_imported():
    names = [module.name for module in pkgutil.walk_packages(closer_tf.__path__, "closer_tf.")]
    if importlib.util.find_spec("jax") is None:
        names = [name for name in names if name not in ("closer_tf.nn.jax", "closer_tf.readout.on_device")]
    assert len(names) > 80
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
