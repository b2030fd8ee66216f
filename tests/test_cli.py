"""One name for all commands, and what the doctor says."""

import json
import subprocess
import sys

import pytest

from closer_tf import cli, doctor


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
    assert stop.value.code == 0 and what and f"python -m {module}" in capsys.readouterr().out


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
