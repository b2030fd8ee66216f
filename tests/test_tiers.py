"""The lists of tests that take a while name tests that are there."""

import ast
from pathlib import Path

from conftest import MEDIUM

TESTS = Path(__file__).parent


def test_the_list_of_medium_tests_names_tests():
    known = {
        f"{path.name}::{node.name}"
        for path in TESTS.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert not MEDIUM - known, "take these out of tests/medium.txt, or give them their new names"
