"""Reading a run config: the file, overrides from the command line, and what is wrong with it in plain words."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from closer_tf.config.base import json_kind, suggestion
from closer_tf.config.composing import Layers, compose, described, layers_of, located, place_of, read_layers
from closer_tf.config.own_parts import HINT
from closer_tf.config.run_config import RunConfig
from closer_tf.config.training import drop_derived_seeds
from closer_tf.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: str | os.PathLike, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run config, merge it with what it names as its base, override, validate and resolve it.

    Args:
        path: the JSON file; or the bare name of one that ships with the package, such as 'quickstart'.
        overrides: strings 'key.path=value'; the value is JSON, or else a plain string.

    Returns:
        A resolved `RunConfig`.

    Raises:
        ConfigError: a file is missing or no JSON, or a key is unknown, of a wrong type or impossible; the message names the
            file in which the key stands.
    """
    layers = read_layers(path)
    file, content = layers[0][0], compose(layers)
    for override in overrides:
        apply_override(content, override)
    keys = [override.partition("=")[0].strip() for override in overrides]
    if "description" not in keys:
        content = described(content, file.name, keys)
    return resolve(content, str(file), [(file, overridden(overrides)), *layers])


def overridden(overrides: Iterable[str]) -> dict[str, Any]:
    """What overrides, such as 'key.path=value', set, as plain data."""
    content: dict[str, Any] = {}
    for override in overrides:
        apply_override(content, override)
    return content


def resolve(content: dict[str, Any], source: str, layers: Layers = ()) -> RunConfig:
    """Validate and resolve a config given as plain data.

    Args:
        content, source, layers: as for `parse_config`.

    Returns:
        A resolved `RunConfig`.

    Raises:
        ConfigError: as `parse_config`; or the file of a graph cannot be read.
    """
    config = parse_config(content, source, layers)
    try:
        return config.resolved()
    except ConfigError as error:
        raise ConfigError(located(str(error), content, layers or [(source, content)])) from None


def as_config(config: RunConfig | str | os.PathLike | dict[str, Any]) -> RunConfig:
    """A resolved `RunConfig`, from what a caller has of it.

    Args:
        config: `RunConfig`, resolved or not; the path of a run config; or its content as a dict, in which a relative path at
            `base` begins in the current folder.

    Raises:
        ConfigError: it is none of these, or no run config.
    """
    if isinstance(config, RunConfig):
        return config.resolved()
    if isinstance(config, dict):
        layers = layers_of(config, "config")
        return resolve(compose(layers), "config", layers)
    if isinstance(config, (str, os.PathLike)):
        return load_config(config)
    raise ConfigError(
        f"config: expected a RunConfig, the path of a run config or a dict, found {type(config).__name__}; "
        f"closer_tf.load_config(path, overrides) makes one"
    )


def parse_config(content: dict[str, Any], source: str = "config", layers: Layers = ()) -> RunConfig:
    """Validate a whole config given as plain data.

    Args:
        content: dict, as `json.load` returns it; one with a `base` is refused, since that is merged when a file is read.
        source: what to call it in error messages.
        layers: what it was composed from, as from `read_layers`, for messages to name the file in which a key stands.

    Returns:
        A `RunConfig`, not yet resolved.

    Raises:
        ConfigError: with one line per mistake.
    """
    _check_text(content, source)
    if isinstance(content, dict) and content.get("base") is not None:
        raise ConfigError(
            f"{source}: base: expected a whole config here; closer_tf.load_config(path) merges a file with its base"
        )
    return validated(RunConfig, content, source, layers)


def validated(model: type[Model], content: Any, source: str, layers: Layers = ()) -> Model:
    """Plain data as an object of a pydantic model.

    Args:
        model: the model's class.
        content: the plain data, as `json.load` returns it.
        source: what to call it in error messages.
        layers: what it was composed from, as from `read_layers`, for messages to name the file in which a key stands.

    Raises:
        ConfigError: with one line per mistake: source, the key's full path, what was expected, what was found.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        places = layers or [(source, content)]
        lines = [
            f"{place_of(key_of(mistake, content), content, places)}: {explain(mistake, content)}" for mistake in error.errors()
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _check_text(content, source):
    """Refuse what could not be written again: half of a surrogate pair, endless nesting."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{source}: holds a character that is none: {ascii(error.object[error.start])}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set one key of a config given as plain data, which is changed.

    Args:
        content: dict.
        override: 'key.path=value'; the value is JSON, or else a plain string.

    Raises:
        ConfigError: the text is no such pair, or the path leads through something without keys.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected key.path=value, for example --set training.epochs=20")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    set_key(content, key, value, f"--set {override}")


def set_key(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set one key of a config given as plain data, which is changed. A new `seed` takes along those that followed from the one
    before.

    Args:
        content: dict.
        key: the key's path, such as 'training.epochs'; parts may be positions in a list.
        value: any JSON value.
        source: what to call it in error messages.

    Raises:
        ConfigError: the path leads through something without keys.
    """
    *parents, last = key.strip().split(".")
    if [*parents, last] == ["seed"]:
        drop_derived_seeds(content)
    target = content
    for depth, part in enumerate(parents):
        target = _descend(target, part, ".".join(parents[: depth + 1]), source)
    if isinstance(target, list):
        target[_index(target, last, key, source)] = value
    else:
        target[last] = value


def _descend(target, part, path, source):
    if isinstance(target, list):
        child = target[_index(target, part, path, source)]
    else:
        child = target.setdefault(part, {})
        if child is None:
            child = target[part] = {}
    if not isinstance(child, (dict, list)):
        raise ConfigError(f"{source}: '{path}' is {json_kind(child)}, it has no keys below it")
    return child


def _index(items, part, path, source):
    if not part.isdecimal() or int(part) >= len(items):
        raise ConfigError(f"{source}: '{path}': expected an index from 0 to {len(items) - 1}, found '{part}'")
    return int(part)


def key_of(mistake: Mapping[str, Any], content: Any) -> list[str]:
    """The key that a pydantic error is about, as the list of its parts.

    Args:
        mistake: one of `ValidationError.errors()`.
        content: the plain data that was validated.
    """
    return _key_and_value(mistake, content)[0]


def _key_and_value(mistake, content):
    path, found, context = [], content, mistake.get("ctx", {})
    for part in mistake["loc"]:
        if isinstance(found, dict) and part in found or isinstance(found, list) and isinstance(part, int) and part < len(found):
            found = found[part]
            path.append(str(part))
        elif mistake["type"] == "missing" and part == mistake["loc"][-1]:
            path.append(str(part))
        # what is left are the names of union members, which are no keys of the file
    if mistake["type"] == "unknown_key":
        path.append(context["key"])
    if mistake["type"] == "inconsistent" and "key" in context:
        path += context["key"].split(".")
    return path, found


def explain(mistake: Mapping[str, Any], content: Any) -> str:
    """One line for one pydantic error in a config: the key's full path, what was expected, what came.

    Args:
        mistake: one of `ValidationError.errors()`.
        content: the plain data that was validated.
    """
    path, found = _key_and_value(mistake, content)
    where = ".".join(path) or "(top level)"
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "unknown_key":
        return f"{where}: {mistake['msg']}"
    if kind == "missing":
        return f"{where}: this key is required and absent"
    if kind == "union_tag_not_found":
        key = context["discriminator"].strip("'")
        return f"{where}.{key}: this key is required and absent; expected one of {_tags(mistake)}"
    if kind == "union_tag_invalid":
        key = context["discriminator"].strip("'")
        tags = context["expected_tags"].replace("'", "").split(", ")
        return f"{where}.{key}: expected one of {', '.join(tags)}, found '{context['tag']}'.{suggestion(context['tag'], tags)}"
    expected = mistake["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if kind == "literal_error":
        options = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        hint = suggestion(found, options) or (f" {HINT}." if path == ["condition"] else "")
        return f"{where}: expected {expected}, found {json_kind(found)}.{hint}"
    if kind in ("value_error", "inconsistent"):
        return f"{where}: {expected}"
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"{where}: expected a list of {bound}, found one of {len(found)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: expected an object of keys and values, found {json_kind(found)}"
    return f"{where}: expected {expected}, found {json_kind(found)}"


def _tags(mistake):
    """What the key that chooses a section's kind may be, where it is absent."""
    kinds = [RunConfig]
    for part in mistake["loc"]:
        fields = [kind.model_fields[part] for kind in kinds if part in kind.model_fields]
        kinds = [
            kind for field in fields for kind in _sections(field.annotation)
        ] or kinds  # a position or a kind leads nowhere
    key = mistake["ctx"]["discriminator"].strip("'")
    names = [name for kind in kinds if key in kind.model_fields for name in get_args(kind.model_fields[key].annotation)]
    return ", ".join(dict.fromkeys(names))


def _sections(annotation):
    """List of the sections that a key may hold, by its annotation: itself one, or a union or list of some."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a run config, as a dict, for editors and other programs.

    A config with a `base` may leave out what the base gives: it is held against the definitions `...OverBase`, which require
    nothing and let null take a key away.
    """
    whole = RunConfig.model_json_schema()
    definitions = {**whole.pop("$defs"), "RunConfig": whole}
    over_base = {f"{name}OverBase": _over_base(definition) for name, definition in definitions.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "closer_tf run config",
        "if": {"properties": {"base": {"type": "string"}}, "required": ["base"]},
        "then": {"$ref": "#/$defs/RunConfigOverBase"},
        "else": {"$ref": "#/$defs/RunConfig"},
        "$defs": {**definitions, **over_base},
    }


def _over_base(schema):
    """What a part of a JSON Schema becomes where a base may give the rest."""
    if isinstance(schema, list):
        return [_over_base(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = schema | {"$ref": f"{schema['$ref']}OverBase"}
    loose = {
        "anyOf" if key == "oneOf" else key: value if key in ("default", "enum", "const") else _over_base(value)
        for key, value in schema.items()
        if key not in ("required", "discriminator")
    }
    if isinstance(loose.get("properties"), dict):
        loose["properties"] = {name: _or_null(value) for name, value in loose["properties"].items()}
    return loose


def _or_null(schema):
    says = {key: schema[key] for key in ("description",) if key in schema}
    return says | {"anyOf": [{key: value for key, value in schema.items() if key not in says}, {"type": "null"}]}
