"""What docs/architecture.md says of the package holds: imports only go down, and each kind of work has one place."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "closer_tf"
LAYERS = [
    {"errors", "versions", "bounds", "common"},
    {"masks", "graphs"},
    {"config"},
    {"plots", "results"},
    {"data"},
    {"nn"},
    {"training"},
    {"readout"},
    {"analysis", "report"},
    {"train", "evaluate", "summary", "embed", "estimator", "diagnose"},
    {"fused", "sweep", "sweeps", "reproduce", "reproduction", "model_card", "export", "doctor"},
    {"cli", "__main__"},
]
"""From the lowest to the highest: a module imports from its own layer and from those below."""

UPWARD = {("masks", "plots"), ("graphs", "plots")}  # their `plot` methods, when they are called
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
PLACES = {"matplotlib": {"plots"}}
"""What is imported -> the parts that do."""


def part_of(path):
    """The module of the package's root, or the folder in it, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """(part of closer_tf, or another library; whether at the file's top) of everything that a file imports when it runs."""
    tree = ast.parse(path.read_text())
    checked = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unrun = {inner for node in checked for inner in ast.walk(node)}  # names for type hints alone
    for node in ast.walk(tree):
        if node in unrun:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"closer_tf.{alias.name}" for alias in node.names] if node.module == "closer_tf" else [node.module]
        for name in names:
            first, _, rest = name.partition(".")
            yield (rest.partition(".")[0] if first == "closer_tf" and rest else first), node in tree.body


def layer_of(part):
    return next((k for k, parts in enumerate(LAYERS) if part in parts), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    part = part_of(path)
    assert layer_of(part) is not None, "a module or folder without a layer: give it one above"
    for other, at_top in imported(path):
        if (part, other) not in UPWARD:
            assert layer_of(other) is None or layer_of(other) <= layer_of(part), f"{part} imports {other}, which lies above it"
        if other == "keras" and at_top:
            assert part in ("nn", "training"), "Keras takes seconds to import: import it where it is used"
        if other in PLACES:
            assert part in PLACES[other], f"{other} has its place in {', '.join(sorted(PLACES[other]))}"


def test_the_page_names_every_part_and_what_it_names_is_there():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    for part in set.union(*LAYERS) - {"__main__"}:
        assert f"`{part}.py`" in page or f"`{part}/`" in page, part
    for name in re.findall(r"`(closer_tf/[\w/]+\.py)`", page):
        assert (PACKAGE.parent / name).exists(), name
