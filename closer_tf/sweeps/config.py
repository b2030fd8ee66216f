"""The sweep file: a base config, what varies over it, the seeds, and what every point is compared with.

Nothing here imports TensorFlow or Dask. Nothing in a sweep is evaluated: strings are data.
"""

import itertools
import json
from typing import Annotated, Any

from pydantic import Field

from closer_tf.common.files import given_path
from closer_tf.common.values import shortened
from closer_tf.config.base import NameOf, Section
from closer_tf.config.composing import compose, layers_of, read_layers
from closer_tf.config.conditions import UNTRAINED, compared_conditions
from closer_tf.config.files import read_json
from closer_tf.config.reading import apply_override, resolve, set_key, validated
from closer_tf.errors import ConfigError

MAX_POINTS = 100_000  # keeps a mistyped grid from filling the memory

Values = Annotated[list[Any], Field(min_length=1)]
Baselines = list[Annotated[str, NameOf(compared_conditions)]]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]


class Group(Section):
    """Points that share settings of their own, on top of the sweep's."""

    base: str | dict[str, Any] | None = None
    """A run config in place of the sweep's, named as that or written out. Default null: the sweep's."""
    set: dict[str, Any] = {}
    """Keys of the run config and their values, as with --set: {"condition": "supervised"}. Added to the sweep's."""
    grid: dict[str, Values] = {}
    """Keys and the values that each takes, in all combinations. Added to the sweep's."""
    seeds: Seeds | None = None
    """In place of the sweep's seeds. Default null: the sweep's."""
    baselines: Baselines | None = None
    """In place of the sweep's baselines. Default null: the sweep's."""


class SweepConfig(Section):
    """Many runs: a base config, a grid and a list over any of its keys, and seeds."""

    schema_: str | None = Field(None, alias="$schema")
    """Where an editor finds the JSON Schema of this file; ignored otherwise."""
    description: str = ""
    """What this sweep is for."""
    base: str | dict[str, Any] | None = None
    """The run config that the points start from: the path of a file, beside this one if relative; the name of one that ships
    with the package; or the config itself."""
    set: dict[str, Any] = {}
    """Keys of the run config (dotted paths, as with --set) and their values, for all points."""
    grid: dict[str, Values] = {}
    """Keys and the values that each takes: one point per combination."""
    groups: list[Group] = Field([], alias="list")
    """Groups of points, each with its own settings. Default: one group without any."""
    seeds: Seeds = [0]
    """Each point is run once with each of these as the config's `seed`."""
    baselines: Baselines = ["masked_input", UNTRAINED]
    """What every trained point is compared with, with the same masks and seeds. Read out in a run of their own, once for all
    points that share it. This takes the place of `readout.conditions`."""
    retries: int = Field(2, ge=0, le=100)
    """How often a run that failed is tried again within one command."""


def load_sweep(path):
    """Read and validate a sweep file.

    Args:
        path: the JSON file.

    Returns:
        A `SweepConfig`.

    Raises:
        ConfigError: the file is missing or no JSON, or a key is unknown, of a wrong type or impossible.
    """
    return parse_sweep(read_json(path), str(path))


def parse_sweep(content, source="sweep"):
    """Validate a sweep given as plain data.

    Args:
        content: dict, as `json.load` returns it.
        source: what to call it in error messages.

    Returns:
        A `SweepConfig`.

    Raises:
        ConfigError: with one line per mistake.
    """
    return validated(SweepConfig, content, source)


def run_configs(sweep, source="sweep", overrides=(), seeds=None):
    """The run configs that a sweep names, in its order.

    Args:
        sweep: `SweepConfig`.
        source: the sweep's file: the start of error messages, and where relative paths of base configs begin.
        overrides: strings 'key.path=value' for every point; they come last.
        seeds: list of ints in place of all seeds of the file.

    Returns:
        List of (label, `RunConfig`, baselines): what tells the point apart in the sweep, its resolved config, and what it is
        compared with.

    Raises:
        ConfigError: a base config cannot be read, or a point is no valid run config; the message names the point, the key and,
            where it stands in a base config, that file.
    """
    found = []
    for number, group in enumerate(sweep.groups or [Group()]):
        where = f"list.{number}." if sweep.groups else ""
        grid = {**sweep.grid, **group.grid}
        _check_keys(sweep, group, grid, overrides, f"{source}: {where}")
        layers = _layers(group.base if group.base is not None else sweep.base, source, where)
        base = compose(layers)
        baselines = sweep.baselines if group.baselines is None else group.baselines
        runs = seeds or group.seeds or sweep.seeds
        combinations = list(itertools.islice(itertools.product(*grid.values()), MAX_POINTS + 1))
        if len(found) + len(combinations) * len(runs) > MAX_POINTS:
            raise ConfigError(f"{source}: more than {MAX_POINTS:,} points")
        for values in combinations:
            for seed in runs:
                varied = {**group.set, **dict(zip(grid, values))}
                label = ", ".join([*(f"{key}={_short(value)}" for key, value in varied.items()), f"seed={seed}"])
                point, content, own = f"{source}: point {label}", json.loads(json.dumps(base)), {}
                for target in (content, own):
                    for key, value in {"seed": seed, **sweep.set, **varied}.items():
                        set_key(target, key, json.loads(json.dumps(value)), point)
                    for override in overrides:
                        apply_override(target, override)
                below = [(point if file == source else f"{point}: {file}", layer) for file, layer in layers]
                found.append((label, resolve(content, point, [(point, own), *below]), baselines))
    return found


def json_schema():
    """The JSON Schema (2020-12) of a sweep file, as a dict."""
    schema = SweepConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "closer_tf sweep"
    return schema


def _layers(base, source, where):
    """The base config and what it stands on, as `compose` takes them."""
    if base is None:
        raise ConfigError(f"{source}: {where}base: this key is required and absent; expected the path or name of a run config")
    try:
        folder = given_path(source).parent
        return layers_of(base, source, folder) if isinstance(base, dict) else read_layers(base, folder)
    except ConfigError as error:
        raise ConfigError(f"{source}: {where}base: {error}") from None


def _check_keys(sweep, group, grid, overrides, where):
    """Refuse a key that is given a value twice in ways of which only one could count."""
    if "seed" in grid or "seed" in {**sweep.set, **group.set}:
        raise ConfigError(f"{where}seed: expected under 'seeds', found under 'grid' or 'set'")
    if "readout.conditions" in {**sweep.set, **group.set, **grid}:
        raise ConfigError(f"{where}readout.conditions: expected under 'baselines', found under 'grid' or 'set'")
    for key in grid:
        if key in group.set or (key in sweep.set and key in sweep.grid):
            raise ConfigError(f"{where}grid.{key}: expected under 'grid' or under 'set', found under both")
    for first, later in itertools.combinations({**sweep.set, **group.set, **grid}, 2):  # in the order in which they are set
        if first.startswith(f"{later}."):
            raise ConfigError(f"{where}{first}: '{later}', which is set after it, takes its place; expected it in there")
        if later.startswith(f"{first}.") and any(_holds(value, later[len(first) + 1 :]) for value in grid.get(first, ())):
            raise ConfigError(f"{where}{later}: values of 'grid.{first}' hold it, too; expected it in one of the two")
    for override in overrides:
        key = override.partition("=")[0].strip()
        for varied in ("seed", *grid):
            if key == varied or varied.startswith(f"{key}."):
                raise ConfigError(f"--set {override}: the sweep varies '{varied}' itself; expected a key that it does not vary")


def _holds(value, key):
    """Whether plain data has a key below it."""
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _short(value):
    return shortened(value if isinstance(value, str) else json.dumps(value), 40, "...")
