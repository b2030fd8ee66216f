"""Run configs that stand on others, and those that ship with the package and go by their names."""

import json
import types
from pathlib import Path
from typing import Union, get_args, get_origin

import jsonschema
import pytest
from pydantic import BaseModel

from closer_tf import cli
from closer_tf.config import RunConfig, as_config, json_schema, load_config, parse_config
from closer_tf.config.base import KIND_KEYS
from closer_tf.config.composing import located_in, merge
from closer_tf.config.shipped import config_file, shipped_names
from closer_tf.errors import CloserError, ConfigError
from closer_tf.sweeps.config import load_sweep, parse_sweep, run_configs
from closer_tf.training.runs import RunFolder

REPOSITORY = Path(__file__).resolve().parents[1]
WHOLE = json.loads((Path(__file__).parent / "run_configs_whole.json").read_text())


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_each_run_config_is_what_it_was_when_it_was_written_out_whole(name):
    composed, whole = load_config(REPOSITORY / "run_configs" / f"{name}.json"), parse_config(WHOLE[name]["config"]).resolved()
    assert composed.to_dict() | {"description": ""} == whole.to_dict()
    assert composed.digest() == WHOLE[name]["digest"]  # or the folders of runs that were begun before could not go on


def test_most_run_configs_are_short():
    contents = [json.loads(path.read_text()) for path in (REPOSITORY / "run_configs").glob("*.json")]
    assert sum("base" not in content for content in contents) <= 5
    assert all(len(content) <= 9 for content in contents if "base" in content)


def write(folder, **files):
    """Write dicts as files, such as a={...} to a.json; returns the path of the first."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / f"{next(iter(files))}.json"


def test_objects_merge_and_anything_else_replaces():
    base = {"a": {"x": 1, "y": [1, 2], "z": {"deep": 1, "deeper": 2}}, "b": 1, "c": [{"d": 1}]}
    own = {"a": {"y": [3], "z": {"deep": 5}}, "c": [{"e": 2}], "f": {"g": None}}
    before = json.dumps([base, own])
    assert merge(base, own) == {
        "a": {"x": 1, "y": [3], "z": {"deep": 5, "deeper": 2}},
        "b": 1,
        "c": [{"e": 2}],
        "f": {"g": None},
    }
    assert json.dumps([base, own]) == before


@pytest.mark.parametrize("key", KIND_KEYS)
def test_an_object_of_another_kind_replaces_the_bases(key):
    base = {"part": {key: "one", "foreign": 1}}
    assert merge(base, {"part": {key: "two", "own": 2}}) == {"part": {key: "two", "own": 2}}
    assert merge(base, {"part": {key: "one", "own": 2}}) == {"part": {key: "one", "foreign": 1, "own": 2}}
    assert merge(base, {"part": {"own": 2}}) == {"part": {key: "one", "foreign": 1, "own": 2}}


def test_the_keys_that_choose_a_kind_are_all_known():
    def choosing(model):
        for field in model.model_fields.values():
            if field.discriminator:
                yield field.discriminator
            for part in parts_of(field.annotation):
                yield from choosing(part)

    assert set(choosing(RunConfig)) == set(KIND_KEYS)


def parts_of(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for each in get_args(annotation) for part in parts_of(each)]


def test_null_takes_the_bases_key_away(tmp_path):
    base = {
        "augmentation": {"rotation": 0.2},
        "masks": {"scheme": "gaussian", "fraction": 0.3},
        "objective": {"temperature": 3},
    }
    over = {"base": "b.json", "augmentation": None, "masks": {"fraction": None}, "objective": {"temperature": None}}
    assert load_config(write(tmp_path, a=over, b=base)) == load_config(write(tmp_path, c={"masks": {"scheme": "gaussian"}}))
    with pytest.raises(ConfigError, match=r"a.json: trainin: unknown key 'trainin'. Did you mean 'training'"):
        load_config(write(tmp_path, a={"base": "b.json", "trainin": None}, b=base))


def test_where_null_is_a_value_it_is_the_default():
    """Else a config could not choose it over its base."""

    def sections(model):
        yield model
        for field in model.model_fields.values():
            for part in parts_of(field.annotation):
                yield from sections(part)

    for model in sections(RunConfig):
        for name, field in model.model_fields.items():
            if get_origin(field.annotation) in (Union, types.UnionType) and type(None) in get_args(field.annotation):
                assert field.default is None, (model, name)


def test_a_chain_of_bases_in_several_folders(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path / "deep" / "er", c={"seed": 5, "training": {"epochs": 3, "batch_size": 7}})
    write(tmp_path / "deep", b={"base": "er/c.json", "training": {"epochs": 4}})
    path = write(tmp_path, a={"base": "deep/b.json", "num_encoders": 3})
    monkeypatch.chdir("/")
    config = load_config(path, ["training.epochs=9"])
    assert (config.seed, config.num_encoders, config.training.epochs, config.training.batch_size) == (5, 3, 9, 7)
    assert load_config(write(tmp_path, d={"base": str(path)})).training.epochs == 4
    assert "base" not in config.to_dict() and parse_config(json.loads(config.to_json())) == config


def test_the_help_of_sweeps_names_those_that_ship(capsys):
    from closer_tf import sweep

    with pytest.raises(SystemExit):
        sweep.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert sorted(said.partition("ships with the package: ")[2].split(" options")[0].split(", ")) == shipped_names("sweeps")


def test_a_config_can_stand_on_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, mine={"base": "quickstart", "training": {"epochs": 2}})
    assert load_config(path).to_dict()["encoder"] == load_config("quickstart").to_dict()["encoder"]
    assert as_config({"base": "quickstart", "seed": 3}).seed == 3
    write(tmp_path, quickstart={"num_encoders": 7})
    (tmp_path / "quickstart.json").rename(tmp_path / "quickstart")  # a file of that name comes first
    assert load_config("quickstart").num_encoders == load_config(path).num_encoders == 7
    assert set(shipped_names()) == set(WHOLE) and shipped_names("sweeps") == ["beyond_cifar10", "digits"]
    with pytest.raises(ConfigError, match="quikstart: no such file, .* Did you mean 'quickstart'. Those are: .*vit_contiguous"):
        load_config("quikstart")
    assert (
        located_in(tmp_path / "none.json", "masks.fraction: too small")
        == f"{tmp_path / 'none.json'}: masks.fraction: too small"
    )
    with pytest.raises(ConfigError, match="cannot be read as a text file: .*File name too long"):
        load_config("x" * 300 + ".json")
    with pytest.raises(ConfigError, match="quickstart.json: no such config file"):
        load_config("quickstart.json")


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a": {"base": "b.json"}}, "a.json: base: {folder}/b.json: no such config file"),
        ({"a": {"base": "quickstar.json"}, "quickstart": {}}, "quickstar.json: no such config file. Did you mean 'quickstart"),
        ({"a": {"base": "quickstar"}}, "a.json: base: quickstar: no such file, and none that ships"),
        ({"a": {"base": "b.json"}, "b": {"base": "c.json"}}, "b.json: base: {folder}/c.json: no such config file"),
        ({"a": {"base": "."}}, "a.json: base: {folder}: a folder; expected a run config"),
        ({"a": {"base": "\0.json"}}, "cannot be read as a text file"),
        ({"a": {"base": "b.json"}, "b": []}, "a.json: base: {folder}/b.json: expected a JSON object"),
        ({"a": {"base": 3}}, "a.json: base: expected the path of a run config, or the name of one that ships with"),
        ({"a": {"base": {"seed": 1}}}, "a.json: base: expected the path of a run config, .* found an object"),
        ({"a": {"base": "a.json"}}, "a.json: base: {folder}/a.json stands on this file itself"),
        (
            {"a": {"base": "b.json"}, "b": {"base": "../{name}/a.json"}},
            "b.json: base: {folder}/../{name}/a.json stands on this file itself",
        ),
    ],
)
def test_bases_that_cannot_be_read(tmp_path, files, message):
    files = {name: json.loads(json.dumps(content).replace("{name}", tmp_path.name)) for name, content in files.items()}
    with pytest.raises(ConfigError, match=message.format(folder=tmp_path, name=tmp_path.name)):
        load_config(write(tmp_path, **files))


AREAS = {"scheme": "areas", "areas": ["VISp", "LGd"]}


@pytest.mark.parametrize(
    "own, base, overrides, file, message",
    [
        ({}, {"seed": -1}, [], "b", "seed: expected greater"),
        ({"seed": -1}, {"seed": -2}, [], "a", "seed: expected greater than or equal to 0, found -1"),
        ({"training": {"epochs": 3}}, {"training": {"epoch": 1}}, [], "b", "training.epoch: unknown key"),
        ({"training": {"epoch": 3}}, {"training": {"epochs": 1}}, [], "a", "training.epoch: unknown key"),
        ({"masks": {"sigma": 3}}, {"masks": {"scheme": "random_patches"}}, [], "a", "masks.sigma: unknown key"),
        ({"masks": {"scheme": "custom"}}, {"masks": {"scheme": "gaussian"}}, [], "a", "masks.path: this key is required"),
        ({"seed": 1}, {"masks": {"fraction": 0.2}}, [], "b", "masks.scheme: this key is required"),
        ({"num_encoders": 2}, {"encoders": [{"type": "mlp"}, {"type": "mpl"}]}, [], "b", "encoders.1.type: expected one of"),
        ({"num_encoders": 3}, {"masks": AREAS}, [], "b", "masks.areas: expected 3 areas"),
        ({"masks": AREAS}, {"seed": 1}, [], "a", "masks.areas: expected 10 areas"),
        ({}, {"training": {"epochs": 2}}, ["training.epochs=x"], "a", "training.epochs: expected a valid integer"),
        ({}, {"encoder": {"type": "mlp", "hidden": [4]}}, ["encoder.hidden.0=x"], "a", "encoder.hidden.0: expected"),
        (
            {"seed": 1},
            {"objective": {"graph": {"family": "custom", "path": "no.csv"}}},
            [],
            "b",
            "objective.graph.path: no.csv",
        ),
    ],
)
def test_a_mistake_names_the_file_in_which_the_key_stands(tmp_path, monkeypatch, own, base, overrides, file, message):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, a={"base": "b.json", **own}, b={"base": "c.json", **base}, c={"description": "the last"})
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    assert str(error.value).startswith(f"{tmp_path / file}.json: {message}")


def test_a_description_is_not_handed_on_where_it_no_longer_fits(tmp_path):
    base = {"description": "Figure 2b", "dataset": {"name": "cifar10"}, "training": {"epochs": 1000}}

    def description(**own):
        return load_config(write(tmp_path, a={"base": "b.json", **own}, b=base)).description

    assert description(description="mine", seed=3) == "mine"
    assert description(seed=3) == "Figure 2b"
    assert description(training={"epochs": 2}) == "Figure 2b [b.json with other training.epochs]"
    assert description(condition="supervised") == "b.json with other condition"
    assert description(dataset={"name": "digits"}, num_encoders=5) == "b.json with other dataset, num_encoders"


def test_a_base_is_not_read_where_whole_configs_belong(tmp_path):
    with pytest.raises(ConfigError, match="config: base: expected a whole config here"):
        parse_config({"base": "quickstart"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"base": "quickstart"}')
    with pytest.raises(CloserError, match="base: expected a whole config here"):
        RunFolder(tmp_path / "run").load_config()


def test_a_sweep_composes_its_base_in_the_same_way(tmp_path):
    write(tmp_path, b={"base": "c.json", "training": {"epochs": 4}}, c={"num_encoders": 3, "training": {"batch_size": 9}})
    path = write(tmp_path, sweep={"base": "b.json", "grid": {"masks": [{"scheme": "gaussian", "fraction": 0.2}]}})
    ((_, config, _),) = run_configs(load_sweep(path), str(path))
    assert (config.num_encoders, config.training.epochs, config.training.batch_size) == (3, 4, 9)
    ((_, written_out, _),) = run_configs(parse_sweep({"base": {"base": "quickstart", "num_encoders": 4}}))
    assert written_out.num_encoders == 4 and written_out.encoder.hidden == [256, 128]
    write(tmp_path, c={"num_encoders": 3, "trainin": 1})
    with pytest.raises(ConfigError) as error:
        run_configs(load_sweep(path), str(path))
    assert str(error.value).startswith(f"{path}: point masks=") and f"seed=0: {tmp_path / 'c.json'}: trainin: unknown" in str(
        error.value
    )
    write(tmp_path, c={"base": "none.json"})
    with pytest.raises(ConfigError, match=f"sweep.json: base: {tmp_path}/c.json: base: {tmp_path}/none.json: no such config"):
        run_configs(load_sweep(path), str(path))


def test_the_schema_lets_a_config_leave_out_what_its_base_gives():
    check = jsonschema.Draft202012Validator(json_schema()).is_valid
    part = {"masks": {"fraction": 0.2}, "augmentation": None, "dataset": {"name": "image_folder"}}
    assert check({"base": "b.json", **part}) and not check(part)
    assert not check({"masks": {"fraction": 0.2}}) and not check({"augmentation": None})
    for wrong in ({"masks": {"fractoin": 0.2}}, {"training": {"epochs": "ten"}}, {"epochs": 3}, {"masks": {"scheme": "none"}}):
        assert not check({"base": "b.json", **wrong})


def test_resolved_prints_the_whole_config(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, a={"base": "quickstart", "training": {"epochs": 2}})
    assert cli.main(["train", "a.json", "--set", "seed=4", "--resolved"]) == 0
    printed = capsys.readouterr().out
    assert printed == load_config("a.json", ["seed=4"]).to_json() and json.loads(printed)["training"]["epochs"] == 2
    assert not (tmp_path / "runs").exists()
    assert load_config(write(tmp_path, b=json.loads(printed))).digest() == load_config("a.json", ["seed=4"]).digest()


def test_list_shows_what_ships(capsys):
    assert cli.main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped_names()
    with pytest.raises(SystemExit):
        cli.main(["train"])
    assert "CONFIG is required: a file, or one of digits_distilled" in capsys.readouterr().err


def test_a_sweep_that_ships_goes_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert config_file("digits", kind="sweeps").is_file()
    assert cli.main(["sweep", "digits", "--dry-run"]) == 0
    assert "20 points: 8 trainings" in capsys.readouterr().out
