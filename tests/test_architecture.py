"""What docs/architecture.md says of the package holds: imports only go down, and each kind of work has one place."""

import ast
import re
from pathlib import Path

import pytest

from closer_tf import plots
from closer_tf.common import backend
from closer_tf.config.conditions import CONDITIONS

PACKAGE = Path(__file__).resolve().parents[1] / "closer_tf"
LAYERS = [
    {"errors", "common"},
    {"masks", "graphs"},
    {"config"},
    {"plots", "results"},
    {"data"},
    {"nn"},
    {"training"},
    {"readout"},
    {"analysis", "report"},
    {"train", "own_model", "evaluate", "summary", "embed", "estimator", "diagnose"},
    {"fused", "sweep", "sweeps", "reproduce", "reproduction", "model_card", "export", "doctor"},
    {"cli", "__main__"},
]
"""From the lowest to the highest: a module imports from its own layer and from those below."""

MOST_MODULES = 25
"""That one training may meet, beside those of `config/` and `data/`."""

UPWARD = {("masks", "plots"), ("graphs", "plots")}  # their `plot` methods, when they are called
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
PLACES = {"matplotlib": {"plots"}}
"""What is imported -> the parts that do."""


def part_of(path):
    """The module of the package's root, or the folder in it, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def run_imports(path):
    """(name, whether at the file's top) of everything that a file imports when it runs; a name of a module's has both."""
    tree = ast.parse(path.read_text())
    checked = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unrun = {inner for node in checked for inner in ast.walk(node)}  # names for type hints alone
    for node in ast.walk(tree):
        if node in unrun:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((name, node in tree.body) for name in names)


def imported(path):
    """(part of closer_tf, or another library; whether at the file's top) of everything that a file imports when it runs."""
    for name, at_top in run_imports(path):
        first, _, rest = name.partition(".")
        yield (rest.partition(".")[0] if first == "closer_tf" and rest else first), at_top


def files_of(name):
    """The files that are run when a dotted name is imported: of the packages on the way, and of the module."""
    parts = name.split(".")
    for k in range(2, len(parts) + 1):
        path = PACKAGE.parent.joinpath(*parts[:k])
        yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists())


def closure(path):
    """The files that a file imports, at once or later, and those that these do; packages without any code left out."""
    seen, waiting = set(), {path}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= {file for name, _ in run_imports(path) if name.startswith("closer_tf.") for file in files_of(name)} - seen
    return {path for path in seen if any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)}


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


def test_a_training_is_few_modules_and_the_page_names_them():
    files = {path.relative_to(PACKAGE.parent).as_posix() for path in closure(PACKAGE / "train.py")}
    met = {name for name in files if part_of(PACKAGE.parent / name) not in ("config", "data")}
    assert len(met) <= MOST_MODULES, f"{len(met)} modules: what a training need not meet is found by name (`load`)"
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    (reading,) = re.findall(r"^## One training, in reading order\n(.*?)\nWhat one training has", page, flags=re.S | re.M)
    named = re.findall(r"`(closer_tf/[\w/]+\.py)`", reading)
    assert {name for name in named if part_of(PACKAGE.parent / name) not in ("config", "data")} == met
    assert len(named) == len(set(named))


def is_there(row):
    """Whether a row 'module:name' of a table leads to something at the top of a module."""
    module, _, name = row.partition(":")
    (*_, file) = files_of(module)
    names = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assigned = [node.targets[0] for node in ast.parse(file.read_text()).body if isinstance(node, ast.Assign)]
    return name in names | {target.id for target in assigned if isinstance(target, ast.Name)}


def test_what_is_found_by_name_is_there():
    rows = [f"closer_tf.plots.{module}:{name}" for name, module in plots._NAMES.items()]
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and re.fullmatch(r"closer_tf(\.\w+)+:\w+", str(node.value)):
                rows.append(node.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "backend_part":
                rows += [f"{module}:{ast.literal_eval(node.args[0])}" for module in backend.PARTS.values()]
    assert {condition.loss for condition in CONDITIONS.values() if isinstance(condition.loss, str)} <= set(rows)
    assert len(rows) > 50 and [row for row in rows if not is_there(row)] == []
    assert not is_there("closer_tf.nn.temporal:nothing")
