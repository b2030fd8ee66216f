"""The config reference as Markdown, made from the types: `python -m closer_tf.config --reference > docs/config.md`."""

import json
import types
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from closer_tf.config.base import KIND_KEYS, NameOf
from closer_tf.config.run_config import RunConfig

_HEADER = """# The run config, key by key

Made from the types in `closer_tf/config/`; the same as a JSON Schema, for editors, is `closer_tf/run_config.schema.json`.
A run config is a JSON object; every key has a default, so `{}` is one. `--set key.path=value` on the command line overrides a
key: `--set training.epochs=20`, `--set 'dataset={"name": "cifar10"}'`. Keys that are not listed here are refused. Values are
data: none is evaluated. Symbols in square brackets are the paper's: N encoders, D embedding dimension, q image fraction,
tau temperature.

## One config on another

A config may name another as its `base` and give only what is different:

```json
{
  "base": "mlp_gaussian.json",
  "condition": "supervised",
  "masks": {"fraction": 0.2},
  "training": {"epochs": 20}
}
```

`base` is a path, relative to the file that names it, or the bare name of a config that ships with the package, such as
`"mlp_gaussian"` (`closer_tf train --list` shows them). The base may have a base itself. Its keys and the file's own are merged:

- Objects merge key by key. Anything else replaces what the base has; lists do so as a whole.
- An object that chooses another kind than the base's (`dataset.name`, `masks.scheme`, `encoder.type`, `objective.graph.family`)
  replaces it as a whole, since keys of one kind say nothing of another.
- `null` takes the base's key away, so that its default holds, as if neither file had it.
- A config without a `description` of its own is described by the base's name and what it changes.

A mistake is reported with the file in which the key stands. Paths to data (`dataset.path` and others) begin in the current
folder, whichever file they stand in. `--set` comes last. `closer_tf train CONFIG.json --resolved` prints the whole config, with
all defaults; every run folder keeps it as `config.json`.
"""


def config_reference() -> str:
    """The reference as Markdown text: one table per section, one section per choice where there are several."""
    parts = [_HEADER, _table("Top level", RunConfig, "")]
    for name, field in RunConfig.model_fields.items():
        parts += _sections(name, field.annotation)
    return "\n".join(parts)


def _sections(path, annotation):
    """The tables below one key, and below the keys of those."""
    parts, models = [], _models(annotation)
    for model in models:
        choice = _choice(model) if len(models) > 1 else ""
        parts.append(_table(f"`{path}`{choice}", model, path))
        for name, field in model.model_fields.items():
            parts += _sections(f"{path}.{name}", field.annotation)
    return parts


def _models(annotation):
    """The config sections that a type consists of; none for plain values and for lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _choice(model):
    """What chooses a model among several, such as ', scheme: gaussian'."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and name in KIND_KEYS:
            return f", `{name}`: {', '.join(f'`{value}`' for value in get_args(field.annotation))}"
    return ""


def _table(title, model, path):
    rows = []
    for name, field in model.model_fields.items():
        kind = f"{_kind(field.annotation, field.metadata)}{_limits(field.metadata)}"
        says = " ".join((field.description or "").split())
        rows.append(f"| `{field.alias or name}` | {_cell(kind)} | {_cell(_default(field, path, name))} | {_cell(says)} |")
    about = " ".join((model.__doc__ or "").split())
    return "\n".join([f"## {title}\n", f"{about}\n", "| key | type | default | what |", "|---|---|---|---|", *rows, ""])


def _kind(annotation, metadata=()):
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    for part in (*metadata, *(arguments[1:] if origin is Annotated else ())):
        if isinstance(part, NameOf):
            return " or ".join(f"`{json.dumps(name)}`" for name in part.names())
    if origin is Annotated:
        return f"{_kind(arguments[0])}{_limits(arguments[1:])}"
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin is dict:
        return "object"
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin in (Union, types.UnionType):
        kinds = dict.fromkeys("null" if part is type(None) else _kind(part) for part in arguments)
        return " or ".join(kinds)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    return {bool: "true or false", int: "integer", float: "number", str: "string"}[annotation]


def _limits(metadata):
    """The bounds of a type, such as ', >= 1'."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found, bounds = [], [inner for part in metadata for inner in getattr(part, "metadata", [part])]
    for bound in bounds:
        found += [f"{sign} {getattr(bound, name):,}" for name, sign in signs.items() if hasattr(bound, name)]
    fewest = [bound.min_length for bound in bounds if hasattr(bound, "min_length")]
    most = [bound.max_length for bound in bounds if hasattr(bound, "max_length")]
    if fewest and fewest == most:
        found.append(f"{most[0]} of them")
    else:
        found += [f"at least {count}" for count in fewest] + [f"at most {count}" for count in most]
    return "".join(f", {text}" for text in found)


def _default(field, path, name):
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        chosen = _choice(field.default.__class__).removeprefix(", ")
        return f"{chosen}, see below" if chosen else "see below"
    return f"`{json.dumps(field.default)}`"


def _cell(text):
    return text.replace("|", "\\|")
