"""Reading a run config: the file, overrides from the command line, and what is wrong with it in plain words."""

import json
import os

from pydantic import ValidationError

from closer_tf.config.base import json_kind, suggestion
from closer_tf.config.run_config import RunConfig
from closer_tf.errors import ConfigError, DataError
from closer_tf.files import decode_text, given_path

MAX_BYTES = 10_000_000  # of a config file
_SAY_NOTHING = ("seed", "seeds", "readout", "compute", "deterministic", "description")  # what no description is about
_PLACES = ("dataset.data_dir", "training.checkpoint_every", "training.checkpoint_minutes", "training.keep_checkpoints")


def load_config(path, overrides=()):
    """Read, override, validate and resolve a run config.

    Args:
        path: the JSON file.
        overrides: strings 'key.path=value'; the value is JSON, or else a plain string.

    Returns:
        A resolved `RunConfig`.

    Raises:
        ConfigError: the file is missing or no JSON, or a key is unknown, of a wrong type or impossible.
    """
    content = read_json(path)
    for override in overrides:
        apply_override(content, override)
    _describe_changes(content, path, overrides)
    try:
        return parse_config(content, str(path)).resolved()
    except DataError as error:
        raise ConfigError(f"{path}: objective.graph.path: {error}") from None


def _describe_changes(content, path, overrides):
    """Keep a description from saying what is no longer so: drop it for other data or another condition, else mark it."""
    keys = [override.partition("=")[0].strip() for override in overrides]
    keys = [key for key in dict.fromkeys(keys) if key.split(".")[0] not in _SAY_NOTHING and key not in _PLACES]
    said = content.get("description")
    if not keys or not isinstance(said, str) or not said or any(over.startswith("description=") for over in overrides):
        return
    changed = f"{os.path.basename(path)} with other {', '.join(keys)}"
    other = any(key.split(".")[0] in ("dataset", "condition") for key in keys)
    content["description"] = changed if other else f"{said} [{changed}]"


def as_config(config):
    """A resolved `RunConfig`, from what a caller has of it.

    Args:
        config: `RunConfig`, resolved or not; the path of a run config; or its content as a dict.

    Raises:
        ConfigError: it is none of these, or no run config.
    """
    if isinstance(config, RunConfig):
        return config.resolved()
    if isinstance(config, dict):
        return parse_config(config).resolved()
    if isinstance(config, (str, os.PathLike)):
        return load_config(config)
    raise ConfigError(
        f"config: expected a RunConfig, the path of a run config or a dict, found {type(config).__name__}; "
        f"closer_tf.load_config(path, overrides) makes one"
    )


def read_json(path):
    """The JSON object that a config file holds.

    Args:
        path: the file.

    Returns:
        dict.

    Raises:
        ConfigError: the file is missing, too long, no JSON or no object, or a key is given twice.
    """
    path = given_path(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_BYTES:,} bytes, which no run config is")
        text = decode_text(content)
    except FileNotFoundError:
        hint = suggestion(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such config file.{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name that no file can have
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from None
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object {{...}} at the top, found {json_kind(content)}")
    return content


def _without_repeats(pairs):
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise json.JSONDecodeError(f"key '{repeated}' is given more than once in one object", "", 0)
    return content


def parse_config(content, source="config"):
    """Validate a config given as plain data.

    Args:
        content: dict, as `json.load` returns it.
        source: what to call it in error messages.

    Returns:
        A `RunConfig`, not yet resolved.

    Raises:
        ConfigError: with one line per mistake.
    """
    _check_text(content, source)
    return validated(RunConfig, content, source)


def validated(model, content, source):
    """Plain data as an object of a pydantic model.

    Args:
        model: the model's class.
        content: the plain data, as `json.load` returns it.
        source: what to call it in error messages.

    Raises:
        ConfigError: with one line per mistake: source, the key's full path, what was expected, what was found.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [f"{source}: {explain(mistake, content)}" for mistake in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _check_text(content, source):
    """Refuse what could not be written again: half of a surrogate pair, endless nesting."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{source}: holds a character that is none: {ascii(error.object[error.start])}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None


def apply_override(content, override):
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


def set_key(content, key, value, source):
    """Set one key of a config given as plain data, which is changed.

    Args:
        content: dict.
        key: the key's path, such as 'training.epochs'; parts may be positions in a list.
        value: any JSON value.
        source: what to call it in error messages.

    Raises:
        ConfigError: the path leads through something without keys.
    """
    *parents, last = key.strip().split(".")
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


def explain(mistake, content):
    """One line for one pydantic error in a config: the key's full path, what was expected, what came.

    Args:
        mistake: one of `ValidationError.errors()`.
        content: the plain data that was validated.
    """
    path, found = [], content
    for part in mistake["loc"]:
        if isinstance(found, dict) and part in found or isinstance(found, list) and isinstance(part, int) and part < len(found):
            found = found[part]
            path.append(str(part))
        elif mistake["type"] == "missing" and part == mistake["loc"][-1]:
            path.append(str(part))
        # what is left are the names of union members, which are no keys of the file
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "unknown_key":
        return f"{'.'.join([*path, context['key']])}: {mistake['msg']}"
    if kind == "inconsistent" and "key" in context:
        path.append(context["key"])
    where = ".".join(path) or "(top level)"
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
        return f"{where}: expected {expected}, found {json_kind(found)}.{suggestion(found, options)}"
    if kind in ("value_error", "inconsistent"):
        return f"{where}: {expected}"
    return f"{where}: expected {expected}, found {json_kind(found)}"


def _tags(mistake):
    field = RunConfig.model_fields.get(mistake["loc"][0])
    members = getattr(field.annotation, "__args__", ()) if field else ()
    names = [
        option
        for member in members
        for option in getattr(member.model_fields.get(mistake["ctx"]["discriminator"].strip("'")).annotation, "__args__", ())
    ]
    return ", ".join(names)


def json_schema():
    """The JSON Schema (2020-12) of a run config, as a dict, for editors and other programs."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "closer_tf run config"
    return schema
