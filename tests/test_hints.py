"""Type hints: public functions have them, and type checkers see the names that are imported when they are first used.

Whether the hints are right, `mypy` says, which CI runs.
"""

import ast
import tomllib
from pathlib import Path

import pytest

import closer_tf

ROOT = Path(__file__).resolve().parents[1]
CHECKED = [ROOT / name for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]]
FILES = [file for path in CHECKED for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]


def public_functions(tree):
    """The functions at a file's top, and the methods of its classes, that others call."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in [*tree.body, *(inner for each in classes for inner in each.body)]:
        if isinstance(node, ast.FunctionDef) and (node.name in ("__init__", "__call__") or not node.name.startswith("_")):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_have_hints(path):
    for function in public_functions(ast.parse(path.read_text())):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        bare = [each.arg for each in arguments if each and each.annotation is None and each.arg not in ("self", "cls")]
        assert not bare, f"{function.name}: arguments without a type hint: {', '.join(bare)}"
        assert function.returns is not None, f"{function.name}: no type hint of what it returns"


def test_type_checkers_see_every_public_name():
    tree = ast.parse(Path(closer_tf.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.asname: node.module for node in block.body for alias in node.names if alias.name == alias.asname}
    assert seen == {name: f"closer_tf.{module}" for name, module in closer_tf._PUBLIC.items()}


def test_all_public_names_are_checked():
    for name in closer_tf.__all__:
        module = closer_tf._PUBLIC[name].replace(".", "/")
        assert any((ROOT / "closer_tf" / file) in FILES for file in (f"{module}.py", f"{module}/__init__.py")), name
