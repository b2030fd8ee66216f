"""The wheel holds the package whole, run configs included, and runs the quickstart outside the clone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import closer_tf

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "closer_tf", "run_configs")


def test_every_folder_of_the_package_is_in_the_build():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = [*(path for path in (REPOSITORY / "closer_tf").rglob("*")), *(REPOSITORY / "run_configs").rglob("*")]
    folders = {path.parent for path in folders if path.is_file() and path.parent.name != "__pycache__"}
    names = {".".join(path.relative_to(REPOSITORY).parts).replace("run_configs", "closer_tf.run_configs") for path in folders}
    assert names == set(settings["packages"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that was built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "sources").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, folder / "sources" / name)
    here = int(version("setuptools").split(".")[0]) >= 77  # else pip fetches one
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", *["--no-build-isolation"] * here, "-w", str(folder)]
    built = subprocess.run([*command, str(folder / "sources")], capture_output=True, text=True)
    if "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("the build needs setuptools >= 77, which can be fetched neither")
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for root, prefix in (("closer_tf", "."), ("run_configs", "closer_tf")):
        files = [path for path in (REPOSITORY / root).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {Path(prefix, path.relative_to(REPOSITORY)).as_posix() for path in files} <= held
    about = zipfile.ZipFile(wheel).read(f"closer_tf-{closer_tf.__version__}.dist-info/METADATA").decode()
    assert f"Version: {closer_tf.__version__}\n" in about and "closer_tf/py.typed" in held


@pytest.mark.slow
def test_the_quickstart_runs_outside_the_clone(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])  # this environment's libraries; no closer_tf
    python = tmp_path / "venv" / "bin" / "python"
    install = ["install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    (tmp_path / "empty").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments):
        done = subprocess.run(arguments, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run(python, "-c", "import closer_tf; print(closer_tf.__file__)").startswith(str(packages))
    command = tmp_path / "venv" / "bin" / "closer_tf"
    assert "test accuracy after 3 epochs" in run(command, "train", "quickstart", "--set", "training.epochs=3")
    accuracy = json.loads((tmp_path / "empty" / "runs" / "quickstart" / "results.json").read_text())["accuracy"]
    assert set(accuracy) == {"closer", "untrained", "masked_input"}
    assert "20 points" in run(command, "sweep", "digits", "--dry-run")
    assert "trainings" in run(command, "reproduce", "fig3b", "--dry-run")
