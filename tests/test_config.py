import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from closer_tf import config as configs
from closer_tf.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]


def load(tmp_path, content, *overrides):
    path = tmp_path / "run.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return configs.load_config(path, overrides)


def test_an_empty_config_is_all_defaults(tmp_path):
    config = load(tmp_path, {})
    assert (config.dataset.name, config.num_encoders, config.training.batch_size) == ("digits", 10, 128)
    assert config.objective.temperature == 10 * config.encoder.embedding_dim


def test_seeds_derive_from_the_one_seed_and_can_be_set_alone(tmp_path):
    zero, again, one = load(tmp_path, {}), load(tmp_path, {"seed": 0}), load(tmp_path, {"seed": 1})
    assert zero.seeds == again.seeds != one.seeds
    assert len(set(zero.seeds.model_dump().values())) == len(configs.SEED_NAMES)
    alone = load(tmp_path, {"seeds": {"masks": 5}})
    assert alone.seeds.masks == 5 and alone.seeds.dropout == zero.seeds.dropout


def test_a_new_seed_takes_along_the_seeds_that_followed_from_the_last(tmp_path):
    written_out = load(tmp_path, {"seed": 3}).to_dict()
    anew = load(tmp_path, {"seed": 4})
    assert load(tmp_path, written_out, "seed=4").seeds == anew.seeds
    assert load(tmp_path, written_out, "seed=3").seeds == load(tmp_path, written_out).seeds
    chosen = {**written_out, "seeds": {**written_out["seeds"], "masks": 77}}
    assert load(tmp_path, chosen, "seed=4").seeds == anew.seeds.model_copy(update={"masks": 77})
    assert load(tmp_path, written_out, "seeds.masks=5", "seed=4").seeds.masks == 5
    pinned = written_out["seeds"]["masks"]  # on purpose, such as the receptive fields of another run
    assert load(tmp_path, {"seed": 3, "seeds": {"masks": pinned}}, "seed=4").seeds.masks == pinned
    assert load(tmp_path, {"seed": 3}, f"seeds.masks={pinned}", "seed=4").seeds.masks == pinned
    (tmp_path / "below.json").write_text(json.dumps(written_out))
    assert load(tmp_path, {"base": "below.json", "seed": 4}).seeds == anew.seeds
    assert load(tmp_path, {"base": "below.json"}).seeds == load(tmp_path, {"seed": 3}).seeds


def test_derived_seeds_are_the_same_for_ever():
    assert [configs.derived_seed(0, name) for name in configs.SEED_NAMES[:2]] == PINNED


PINNED = [1484405855, 1982462498]


def test_resolving_is_stable_and_json_round_trips(tmp_path):
    config = load(tmp_path, {"seed": 3, "encoder": {"type": "mlp", "hidden": [7], "embedding_dim": 5}})
    assert config.resolved() == config
    assert configs.parse_config(json.loads(config.to_json())) == config


def test_the_digest_sees_everything_but_the_description(tmp_path):
    base = load(tmp_path, {})
    assert load(tmp_path, {"description": "x"}).digest() == base.digest()
    assert load(tmp_path, {"training": {"epochs": 101}}).digest() != base.digest()
    assert load(tmp_path, {"readout": {"max_iter": 9}}).digest() == base.digest()
    here, there = ({"dataset": {"name": "arrays", "path": path}} for path in ("a.npz", "b.npz"))
    assert load(tmp_path, here).digest() == load(tmp_path, there).digest() != base.digest()


def test_one_number_for_the_size_of_images_is_a_square(tmp_path):
    folder = {"name": "image_folder", "path": "x"}
    one, two, none = (
        load(tmp_path, {"dataset": {**folder, **size}}) for size in ({"image_size": 64}, {"image_size": [64, 64]}, {})
    )
    assert one.dataset.image_size == [64, 64] and one.digest() == two.digest() != none.digest()
    jsonschema = pytest.importorskip("jsonschema")
    for size, fits in ((64, True), ([64, 32], True), ([64], False), (0, False), ("64", False)):
        validator = jsonschema.Draft202012Validator(configs.json_schema())
        assert validator.is_valid({"dataset": {**folder, "image_size": size}}) == fits


def test_default_temperatures(tmp_path):
    vit, mlp = {"type": "vit_lite", "embedding_dim": 8}, {"type": "mlp", "embedding_dim": 8}
    assert load(tmp_path, {"encoder": mlp}).objective.temperature == 80
    assert load(tmp_path, {"encoder": vit}).objective.temperature == 10
    assert load(tmp_path, {"num_encoders": 2, "encoders": [mlp, vit]}).objective.temperature == 10


def test_each_weight_that_is_not_given_is_the_papers_for_the_condition(tmp_path):
    def weights(content, *overrides):
        return load(tmp_path, content, *overrides).objective.weights.model_dump()

    lpl = {"tpull": 0.0, "pull": 0.0, "cont": 1.0, "var": 1.0, "cov": 10.0}
    assert weights({"condition": "lpl"}) == lpl
    assert weights({"condition": "tcloser"}, "condition=lpl", "objective.weights.cov=1") == lpl | {"cov": 1.0}
    assert weights({"condition": "lpl", "objective": {"weights": {"cont": 0.0}}}) == lpl | {"cont": 0.0}
    resolved = load(tmp_path, {"condition": "tcloser"})
    assert resolved.objective.weights.tpull == 2
    with pytest.raises(ConfigError, match="objective.weights.tpull: no term of 'lpl'; expected cont, var, cov"):
        load(tmp_path, resolved.to_dict(), "condition=lpl")
    assert weights(resolved.to_dict(), "condition=lpl", "objective.weights=null") == lpl
    with pytest.raises(ConfigError, match="objective.weights.var: no term of 'closer'; it has no weights, expected null"):
        load(tmp_path, {"objective": {"weights": {"var": 1.0}}})


def test_the_digest_of_a_temporal_run_is_what_it_was_before_weights_could_be_null(tmp_path):
    assert (
        load(tmp_path, {"condition": "tcloser"}).digest() == "49e3fab761ac664dfda976281c13ea1f8242daa75d1896c944ad689aa67709a7"
    )


def test_paths_are_stored_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path, {"dataset": {"name": "arrays", "path": "a.npz"}, "masks": {"scheme": "custom", "path": "m.npy"}})
    assert config.dataset.path == str(tmp_path / "a.npz") and config.masks.path == str(tmp_path / "m.npy")


def test_overrides_are_typed_and_nested(tmp_path):
    config = load(
        tmp_path,
        {"encoder": {"type": "mlp", "hidden": [4, 5]}},
        "objective.temperature=10",
        "training.epochs=20",
        "encoder.hidden.1=9",
        'masks={"scheme": "gaussian", "fraction": 0.3}',
        "description=a = b",
    )
    assert config.objective.temperature == 10.0 and config.training.epochs == 20
    assert config.encoder.hidden == [4, 9] and config.masks.fraction == 0.3 and config.description == "a = b"


MISTAKES = [
    ({"epochs": 3}, "epochs: unknown key 'epochs'."),
    ({"training": {"epoch": 3}}, "training.epoch: unknown key 'epoch'. Did you mean 'epochs'?"),
    ({"objective": {"temprature": 3}}, "objective.temprature: unknown key 'temprature'. Did you mean 'temperature'?"),
    ({"encoder": {"type": "mlp", "widths": [1]}}, "encoder.widths: unknown key"),
    ({"training": {"epochs": "ten"}}, 'training.epochs: expected a valid integer, found "ten"'),
    ({"training": {"epochs": 2.5}}, "training.epochs: expected a valid integer"),
    ({"training": {"epochs": -1}}, "training.epochs: expected greater than or equal to 0, found -1"),
    ({"training": {"epochs": True}}, "training.epochs: expected a valid integer, found true"),
    ({"training": []}, "training: expected"),
    ({"dataset": {"name": "cifar11"}}, "dataset.name: expected one of digits, cifar10, cifar100"),
    ({"dataset": {"name": "cifar11"}}, "Did you mean 'cifar10"),
    ({"dataset": {"path": "x"}}, "dataset.name: this key is required and absent; expected one of digits, cifar10"),
    ({"dataset": {"name": "image_folder"}}, "dataset.path: this key is required and absent"),
    ({"dataset": {"name": "image_folder", "path": "x", "image_size": [32]}}, "dataset.image_size: expected"),
    ({"masks": {"fraction": 0.1}}, "masks.scheme: this key is required and absent"),
    ({"masks": {"scheme": "gausian"}}, "Did you mean 'gaussian'?"),
    ({"masks": {"scheme": "gaussian", "fraction": 0}}, "masks.fraction: expected greater than 0, found 0"),
    ({"masks": {"scheme": "gaussian", "fraction": 1.5}}, "masks.fraction: expected less than or equal to 1"),
    ({"encoder": {"type": "mlp", "hidden": [4, 0]}}, "encoder.hidden.1: expected greater than or equal to 1, found 0"),
    ({"encoder": {"type": "mlp", "hidden": 4}}, "encoder.hidden: expected a valid list, found 4"),
    ({"objective": {"temperature": 0}}, "objective.temperature: expected greater than 0"),
    ({"seed": -1}, "seed: expected greater than or equal to 0"),
    ({"num_encoders": 1}, "num_encoders: expected greater than or equal to 2"),
    ({"objective": {"graph": {"family": "ring"}}}, "objective.graph.family: expected one of all_to_all, star"),
    ({"objective": {"graph": {"family": "random"}}}, "objective.graph.num_edges: this key is required and absent"),
    ({"objective": {"graph": {"family": "random", "num_edges": 91}}}, "objective.graph: expected 1 to 90 edges among 10"),
    (
        {"objective": {"graph": {"family": "custom", "path": "x", "weights": [1]}}},
        "objective.graph: 'weights' go with 'edges'",
    ),
    ({"dataset": {"name": "image_folder", "path": "x", "image_size": [0, 3]}}, "dataset.image_size.0: expected greater"),
    (
        {"dataset": {"name": "image_folder", "path": "x", "image_size": 0}},
        "dataset.image_size: expected greater than or equal to 1",
    ),
    (
        {"dataset": {"name": "image_folder", "path": "x", "image_size": True}},
        "dataset.image_size: expected a valid list, found true",
    ),
    ({"dataset": {"name": "image_folder", "path": "x", "background": [0, 0]}}, "dataset.background: expected"),
    ({"dataset": {"name": "image_folder", "path": "x", "background": [0, 0, 256]}}, "dataset.background.2: expected less"),
    ({"dataset": {"name": "image_folder", "path": "x", "white_level": 0}}, "dataset.white_level: expected greater than 0"),
    ({"objective": {"graph": {"family": "custom"}}}, "objective.graph: expected either 'edges' or 'path'"),
    (
        {"objective": {"graph": {"family": "custom", "edges": [[0, 10]]}}},
        "objective.graph: edge (0, 10) names an encoder outside",
    ),
    ({"objective": {"graph": {"family": "custom", "edges": [[0]]}}}, "objective.graph.edges.0: expected"),
    ({"encoders": [{"type": "mlp"}]}, "encoders: expected 10 encoders (num_encoders), found 1"),
    (
        {"num_encoders": 2, "encoders": [{"type": "mlp"}, {"type": "vit_lite", "embedding_dim": 8}]},
        "encoders: all encoders need the same embedding_dim, found [8, 256]",
    ),
    ({"num_encoders": 2, "encoders": [{"type": "mlp"}, {"type": "vit"}]}, "encoders.1.type: expected one of mlp, vit_lite"),
    (
        {"num_encoders": 2, "encoders": [{"hidden": [4]}, {"type": "mlp"}]},
        "encoders.0.type: this key is required and absent; expected one of mlp, vit_lite, rnn, own",
    ),
    ({"objective": {"graph": {}}}, "objective.graph.family: this key is required and absent; expected one of all_to_all, star"),
    (
        {"objective": {"push": {"graph": {}}}},
        "objective.push.graph.family: this key is required and absent; expected one of all_",
    ),
    ({"objective": {"graph": "star"}}, 'objective.graph: expected an object of keys and values, found "star"'),
    ({"readout": {"C": []}}, "readout.C: expected a list of at least 1, found one of 0"),
    ({"readout": {"protocol": "converged", "precision": "float32"}}, "readout.precision: protocol 'converged' chooses"),
    ({"dataset": {"name": "simulated", "fold": 9}}, "dataset.fold: expected 0 to 4, since there are 5 folds, found 9"),
    (
        {"num_encoders": 2, "encoders": [{"hidden": [8, 4], "type": "mlp"}, {"hidden": [8, 5], "type": "mlp"}]}
        | {"objective": {"local": True}},
        "objective.local: layer 2 needs one width in all encoders, found 4, 5",
    ),
    (
        {"condition": "tcloser", "objective": {"weights": {"tpull": 0, "var": 0, "cov": 0}}},
        "objective.weights: at least one term needs a weight other than 0",
    ),
    ({"condition": "trained"}, "condition: expected 'masked_input', 'full_input'"),
    ({"training": {"batch_size": None}}, "training.batch_size: expected a valid integer, found null"),
    ({"encoder": {"type": "mlp", "l1": 1e300}}, "encoder.l1: expected a number that float32 holds, at most 3.4e38"),
]


@pytest.mark.parametrize("content, message", MISTAKES)
def test_each_mistake_has_its_message(tmp_path, content, message):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, content)
    assert str(error.value).startswith(f"{tmp_path / 'run.json'}: ")
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_several_mistakes_are_all_told(tmp_path):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, {"seed": -1, "training": {"epochs": "x"}})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not valid JSON"),
        ('{"seed": 1, "seed": 2}', "key 'seed' is given more than once"),
        ("[]", "expected a JSON object"),
        ("", "not valid JSON"),
        ("\x00", "not valid JSON"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_not_a_number_is_no_number(tmp_path):
    with pytest.raises(ConfigError, match="objective.temperature: expected a finite number"):
        load(tmp_path, '{"objective": {"temperature": NaN}}')


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "quickstart.json").write_text("{}")
    with pytest.raises(ConfigError, match="quikstart.json: no such config file. Did you mean 'quickstart.json'?"):
        configs.load_config(tmp_path / "quikstart.json")


@pytest.mark.parametrize(
    "override, message",
    [
        ("training.epochs", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("training.epoch=3", "Did you mean 'epochs'"),
        ("training.epochs=many", "training.epochs: expected a valid integer"),
        ("training.epochs.more=3", "it has no keys below it"),
        ("encoder.hidden.x=3", "expected an index from 0 to 1"),
    ],
)
def test_wrong_overrides(tmp_path, override, message):
    content = {"training": {"epochs": 1}, "encoder": {"type": "mlp", "hidden": [1, 2]}}
    with pytest.raises(ConfigError) as error:
        load(tmp_path, content, override)
    assert message in str(error.value)


def test_the_schema_file_is_the_one_the_types_make():
    stored = json.loads((REPOSITORY / "closer_tf" / "run_config.schema.json").read_text())
    assert stored == configs.json_schema(), "run: python -m closer_tf.config > closer_tf/run_config.schema.json"


def test_every_key_is_documented():
    def undocumented(schema, path=""):
        for name, value in schema.get("properties", {}).items():
            if "description" not in value:
                yield f"{path}{name}"

    schema = configs.json_schema()
    missing = []
    assert "RunConfig" in schema["$defs"]
    for name, definition in schema["$defs"].items():
        missing += undocumented(definition, f"{name}.")
    assert not missing


@pytest.mark.parametrize("path", sorted((REPOSITORY / "run_configs").glob("*.json")), ids=lambda path: path.stem)
def test_shipped_configs_load_and_fit_the_schema(path):
    config = configs.load_config(path)
    assert config.description
    jsonschema.validate(json.loads(path.read_text()), configs.json_schema())


def test_the_schema_refuses_what_the_types_refuse():
    for content in ({"epochs": 3}, {"training": {"epochs": "ten"}}, {"masks": {"scheme": "gausian"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, configs.json_schema())


@pytest.mark.parametrize("key", ["objective.graph", "objective.push.graph"])
@pytest.mark.parametrize(
    "matrix, message",
    [
        ([[0, 1], [1, 0]], "expected a graph of 3 encoders (num_encoders), found one of 2"),
        ([[0, 1, 1], [1, 0, 1]], "expected a square matrix, found shape (2, 3)"),
        ([[0, np.nan, 1], [1, 0, 1], [1, 1, 0]], "expected finite weights that are not negative, found nan at (0, 1)"),
        ([[0, -1, 1], [1, 0, 1], [1, 1, 0]], "expected finite weights that are not negative, found -1 at (0, 1)"),
        ([[1, 1, 1], [1, 0, 1], [1, 1, 0]], "edge (0, 0) pulls an encoder towards itself"),
        (np.zeros((3, 3)), "an interaction graph needs at least one edge"),
        (None, "no such file"),
    ],
)
def test_mistakes_in_the_file_of_a_graph_name_both_files_and_the_key(tmp_path, key, matrix, message):
    if matrix is not None:
        np.save(tmp_path / "graph.npy", np.array(matrix, dtype=float))
    graph = {"family": "custom", "path": str(tmp_path / "graph.npy")}
    with pytest.raises(ConfigError) as error:
        load(
            tmp_path,
            {"num_encoders": 3, "objective": {"graph": graph} if key == "objective.graph" else {"push": {"graph": graph}}},
        )
    assert str(error.value) == f"{tmp_path / 'run.json'}: {key}.path: {tmp_path / 'graph.npy'}: {message}"


def test_mistakes_that_data_show_name_the_file_in_which_the_key_stands(tmp_path, capsys):
    from closer_tf import train

    below, above = tmp_path / "below.json", tmp_path / "above.json"
    below.write_text(json.dumps({"masks": {"scheme": "gaussian", "fraction": 0.01}}))
    above.write_text(json.dumps({"base": "below.json", "seed": 3}))
    assert train.main([str(above), "--run-dir", str(tmp_path / "run")]) == 2
    assert f"{below}: masks.fraction: 0.01 of 64 pixels leaves no pixels; expected at least 0.01562" in capsys.readouterr().err
