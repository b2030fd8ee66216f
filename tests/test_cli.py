"""One name for all commands, and what the doctor says."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from closer_tf import cli, doctor, evaluate
from closer_tf.common import backend
from closer_tf.common.command import parse_seeds
from closer_tf.errors import ConfigError


def test_help_is_quick_and_names_every_command():
    code = "import sys, closer_tf.cli as c; c.main([]); assert not {'tensorflow', 'keras'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    for part in (*cli.COMMANDS, "examples:", "exit codes: 0 done"):
        assert part in done.stdout


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_is_there_and_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    module, what = cli.COMMANDS[name]
    said = capsys.readouterr().out
    assert stop.value.code == 0 and what and (f"python -m {module}" in said or f"closer_tf {name}" in said)


def test_a_typing_mistake(capsys):
    assert cli.main(["trian", "x.json"]) == 2
    assert "no command 'trian'" in (errors := capsys.readouterr().err) and "Did you mean 'train'?" in errors


def test_arguments_and_exit_codes_are_passed_on(capsys, tmp_path):
    assert cli.main(["train", str(tmp_path / "none.json")]) == 2
    assert "none.json: no such config file" in capsys.readouterr().err


def test_the_doctor_finds_what_is_there(tmp_path, capsys):
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "3.0.2" / "dataset_info.json").write_text(json.dumps({}))
    assert cli.main(["doctor", "--data-dir", str(tmp_path)]) == 0
    lines = {line[9:41].strip(): (line[:8].strip(), line[42:]) for line in capsys.readouterr().out.splitlines()}
    import keras

    assert lines["Keras"][0] == "ok" and keras.__version__ in lines["Keras"][1]
    assert lines["cifar10"][0] == "ok" and lines["cifar100"][0] == "absent"
    assert {"Python", "GPU", "ONNX export", "sessions of the Allen Institute", "disk"} <= set(lines)


@pytest.mark.parametrize(
    "kernel, state, says",
    [
        ("Prescott", "slow", "NumPy's openblas 0.3.21 does not know this processor and takes it for a Prescott: "),
        ("SkylakeX", "ok", "openblas 0.3.21, kernel SkylakeX"),
        (None, "ok", "openblas 0.3.21"),
    ],
)
def test_the_doctor_knows_old_kernels(monkeypatch, kernel, state, says):
    libraries = [
        {"user_api": "openmp", "internal_api": "openmp", "version": None, "filepath": "numpy/libgomp.so"},
        {"user_api": "blas", "internal_api": "mkl", "version": "2024", "filepath": "/x/scipy.libs/libmkl.so"},
        {"user_api": "blas", "internal_api": "openblas", "version": "0.3.21", "filepath": "/x/numpy.libs/libopenblas.so"},
    ]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [*libraries[:2], {**libraries[2], "architecture": kernel}])
    ((_, found, words),) = [row for row in doctor.examine() if row[0] == "matrix products of NumPy"]
    assert found == state and words.startswith(says)
    assert ("set OPENBLAS_CORETYPE=Haswell" in words) == (state == "slow")
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: libraries[:1])
    assert backend.numpy_products() == ("a library that threadpoolctl does not know", "")


@pytest.mark.parametrize("writes_none, says", [(False, "cannot be written): "), (True, "$PYTHONDONTWRITEBYTECODE is set): ")])
def test_the_doctor_knows_where_every_start_compiles(tmp_path, monkeypatch, writes_none, says):
    monkeypatch.setattr(sys, "dont_write_bytecode", writes_none)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "__init__.py").write_text("")
    cached = tmp_path / "large" / "__pycache__" / "__init__.pyc"
    spec = SimpleNamespace(cached=str(cached))
    library = SimpleNamespace(__name__="large", __file__=str(tmp_path / "large" / "__init__.py"), __spec__=spec)
    what, state, words = doctor._start(library)
    assert (what, state) == ("start of a process", "slow")
    assert says in words and words.endswith(f"python -m compileall -qq -j 0 {tmp_path}")
    cached.parent.mkdir()
    cached.write_bytes(b"")
    assert doctor._start(library)[1:] == ("ok", "large is there as bytecode")


def test_a_readout_says_once_that_products_are_slow(monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "numpy_products", lambda: ("openblas", "do something"))
    evaluate._note_slow_products.cache_clear()
    for _ in range(2):
        evaluate._note_slow_products()
    assert capsys.readouterr().err == "note: do something\n"
    monkeypatch.setattr(evaluate, "numpy_products", lambda: ("openblas", ""))
    evaluate._note_slow_products.cache_clear()
    evaluate._note_slow_products()
    assert capsys.readouterr().err == ""
    evaluate._note_slow_products.cache_clear()


def test_the_doctor_says_what_is_missing(monkeypatch, capsys):
    def broken():
        raise ImportError("libcudart.so: cannot open\nand more")

    monkeypatch.setattr(doctor, "import_keras", broken)
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert doctor.main([]) == 2
    output = capsys.readouterr().out
    assert "missing  Keras and its backend" in output and "cannot be imported (libcudart.so: cannot open)" in output
    assert "pip install 'closer_tf[onnx]'" in output


def test_the_doctor_finds_arrays_of_cifar(tmp_path, monkeypatch):
    (tmp_path / "cifar100.npz").touch()
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    found = {what: (state, says) for what, state, says in doctor.examine(tmp_path)}
    assert found["cifar100"] == ("ok", f"in {tmp_path}")
    assert found["cifar10"][0] == "absent" and "no cifar10.npz" in found["cifar10"][1]


@pytest.mark.parametrize("module", ["closer_tf", "closer_tf.cli"])
def test_python_m(module):
    for arguments, code, said in ((["--version"], 0, "closer_tf "), (["trian"], 2, "")):
        done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == code and done.stdout.startswith(said)


@pytest.mark.parametrize(
    "text, seeds",
    [("0-3", [0, 1, 2, 3]), ("0,2,5", [0, 2, 5]), ("7", [7]), ("5, 0-1,9-9", [5, 0, 1, 9]), (str(2**63 - 1), [2**63 - 1])],
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "expected whole numbers and ranges, such as 0-9 or 0,2,5 or 0-3,7; found none"),
        ("0,,1", "found ''"),
        ("0-", "found '0-'"),
        ("-1", "found '-1'"),
        ("1.5", "found '1.5'"),
        ("0-1-2", "found '0-1-2'"),
        ("\u0663", "found"),  # a digit, but none of ours
        ("5-3", "expected ranges from the smaller to the larger seed, found 5-3"),
        ("0-4,2", "expected each seed once, found 2 2 times"),
        ("0-100000", "expected at most 100,000 seeds"),
        ("0-9999999999999999", "expected at most 100,000 seeds"),
        (str(2**63), "expected seeds below 2^63"),
    ],
)
def test_seeds_that_are_none(text, says):
    with pytest.raises(ConfigError) as error:
        parse_seeds(text, "--seeds")
    assert str(error.value).startswith(f"--seeds {text}: ") and says in str(error.value)


@pytest.mark.parametrize("command", ["sweep", "reproduce", "train-fused"])
def test_every_command_takes_the_same_seeds(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "--seeds SEEDS" in words and "0-9 or 0,2,5" in words and "--num-seeds N" in words
    with pytest.raises(SystemExit):
        cli.main([command, "x", "--seeds", "0-1", "--num-seeds", "2"])
    assert "not allowed with argument" in capsys.readouterr().err
