"""Which keys of a run config are what, and the only answers to "are these two runs the same but for ...?".

Every key has a role, and every question counts some roles:

    role       what it is                                                     weights  result  group  together
    result     weights and accuracies follow from it                             x        x       x       x
    seed       where random numbers come from                                    x
    cost       speed and memory; results by rounding only                        x                        x
    free       may change while a run goes on; results stay, or change by rounding at readout             x
    place      where the data lies, which itself is known by its content               name       x       x
    readout    how it is read out: accuracies follow from it, weights do not               x
    shown      what is read out, and when: other numbers, none of them changed
    text       what a run is called, for people

weights    are the trained weights the same, rounding and all? `digest`, by which a run folder is gone on with (`differences`,
           `is_free`), and `run_name`, which also has the names of the data's files.
result     is the accuracy of a condition the same but for seeds? `result_of`, of the keys that the condition has at all;
           `baseline_of` has the condition's seeds beside.
group      are the runs of one group in a report? `settings_of`; how they were read out, a report takes from their results.
together   can they be trained in one? `keys_apart`, which also lets masks and objective differ.

`cost` counts for the weights, so that a folder's digest is what it always was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.readout import PROBE_ITERATIONS
from closer_tf.config.sources import PATH_KEYS
from closer_tf.errors import ConfigError

if TYPE_CHECKING:
    from closer_tf.config.run_config import RunConfig

ROLES = {
    "$schema": "text",
    "base": "text",  # merged when a file is read, so that no run has it
    "description": "text",
    "seed": "seed",
    "deterministic": "cost",
    "condition": "result",
    "num_encoders": "result",
    "dataset": "result",
    "dataset.path": "place",
    "dataset.test_path": "place",
    "dataset.data_dir": "free",  # of a data set that has a name of its own
    "augmentation": "result",
    "masks": "result",
    "encoder": "result",
    "encoders": "result",
    "objective": "result",
    "optimizer": "result",
    "training.epochs": "result",
    "training.batch_size": "result",
    "training.validation_fraction": "result",
    "training.keep": "result",  # the epochs are the same, the weights that the training gives are not
    "training.checkpoint_every": "free",
    "training.checkpoint_minutes": "free",
    "training.keep_checkpoints": "free",
    "compute.precision": "result",
    "compute.xla": "cost",
    "compute.distribution": "free",
    "compute.steps_per_execution": "free",
    "compute.loss_memory_mb": "cost",
    "seeds": "seed",
    "readout.after_training": "shown",
    "readout.at_epochs": "shown",
    "readout.C": "readout",
    "readout.protocol": "readout",
    "readout.max_iter": "readout",
    "readout.precision": "free",  # shows by rounding only; results.json says which
    "readout.validation_fraction": "readout",
    "readout.conditions": "shown",
    "readout.pseudo_likelihood_draws": "shown",
    "readout.layers": "shown",
    "readout.knn_neighbours": "readout",
    "readout.whiten": "shown",
}
"""Key, or section all of whose keys are alike -> role."""

COUNTED = {
    "weights": ("result", "seed", "cost"),
    "result": ("result", "readout", "place"),
    "group": ("result", "place"),
    "together": ("result", "cost", "free", "place"),
}
"""Question -> the roles that count for it."""

APART_TOGETHER = ("masks", "objective")  # sections that trainings in one may differ in, whatever their keys' roles
_SEEDS_READ = {
    "encoders": ("masks", "initialization"),
    "masked input": ("masks",),
    "principal components": ("masks",),
    "input": (),
}
"""What of a run that trains nothing is read out -> the seeds that it follows from."""


def role(key: str) -> str:
    """The role of a key.

    Args:
        key: its path, such as 'training.epochs'.

    Returns:
        str, one of those above.

    Raises:
        KeyError: neither the key nor a section around it is in `ROLES`.
    """
    parts = key.split(".")
    for count in range(len(parts), 0, -1):
        if (found := ROLES.get(".".join(parts[:count]))) is not None:
            return found
    raise KeyError(f"{key}: has no role; expected it in closer_tf.config.identity.ROLES")


def counts(question: str, key: str) -> bool:
    """Whether a key counts for a question of `COUNTED`."""
    return role(key) in COUNTED[question]


def digest(config: RunConfig) -> str:
    """SHA-256 (hex) of what the trained weights follow from.

    Keys at their default and temporal terms of weight 0 do not count either, so that a new key does not make old runs another
    config.

    Args:
        config: `RunConfig`.
    """
    return _hashed(_of_weights(config))


def digests(config: RunConfig) -> set[str]:
    """All digests that folders of a config may have: its own, and where `training` is at its defaults but for keys that do not
    count, the same without that empty section, or with it.

    Args:
        config: `RunConfig`.

    Returns:
        Set of str.
    """
    content = _of_weights(config)
    if content.get("training"):
        return {_hashed(content)}
    without = {key: value for key, value in content.items() if key != "training"}
    return {_hashed(without), _hashed({**without, "training": {}})}


def same_weights(one: RunConfig, other: RunConfig) -> bool:
    """Whether two configs are of one training: what differs between them may change while a run goes on.

    Args:
        one, other: `RunConfig`s.
    """
    return not digests(one).isdisjoint(digests(other))


def _of_weights(config):
    content = _counted(config.model_dump(mode="json", exclude={"schema_"}, exclude_defaults=True), "weights")
    for section in ("compute", "readout"):
        if content.get(section) == {}:
            del content[section]
    weights = content.get("objective", {}).get("weights")
    if weights:
        content["objective"]["weights"] = {name: weight for name, weight in weights.items() if weight}
    return content


def _counted(content, question):
    """The keys of a config, as plain data, that count for a question; sections stay, if empty."""
    kept = {}
    for key, value in content.items():
        if any(known.startswith(f"{key}.") for known in ROLES) and isinstance(value, dict):
            kept[key] = {name: inner for name, inner in value.items() if counts(question, f"{key}.{name}")}
        elif counts(question, key):
            kept[key] = value
    return kept


def _hashed(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_free(key: str) -> bool:
    """Whether a run may go on with another value of a key."""
    return not counts("weights", key)


def differences(stored: RunConfig, given: RunConfig) -> list[tuple[str, Any, Any]]:
    """The keys that keep a run from going on with another config.

    Args:
        stored, given: resolved `RunConfig`s.

    Returns:
        List of (key.path, value in `stored`, value in `given`), None where there is no such key.
    """
    return [found for found in _differing(stored.to_dict(), given.to_dict()) if not is_free(found[0])]


def _differing(one, other, prefix=""):
    found = []
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differing(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((f"{prefix}{key}", a, b))
    return found


def run_name(config: RunConfig) -> str:
    """The name of a config's run folder: readable, and the same for the same training on the same files.

    Args:
        config: resolved `RunConfig`.
    """
    condition = CONDITIONS[config.condition]
    parts = [config.dataset.name, config.condition]
    if condition.embeds:
        parts.append(config.each_encoder()[0].type)
    if condition.reads != "input":
        fraction = getattr(config.masks, "fraction", None)
        parts += [config.masks.scheme, *([f"q{fraction:g}"] if fraction is not None else [])]
    graph = config.objective.graph.family
    if "graph" in condition.objective and not condition.weights and graph != "all_to_all":  # temporal runs never had it here
        parts.append(graph)
    if condition.trained:
        parts.append(f"e{config.training.epochs}")
    parts.append(f"s{config.seed}")
    places = [getattr(config.dataset, key.partition(".")[2], None) for key in ROLES if ROLES[key] == "place"]
    files = [Path(value).name for value in places if value]
    name = hashlib.sha256(json.dumps([digest(config), files]).encode()).hexdigest()
    return re.sub(r"[^\w.-]+", "_", "_".join([*parts, name[:10]]))


def result_of(condition: str, config: RunConfig) -> frozenset[tuple[str, str]]:
    """What a condition's result follows from beside seeds, as a frozenset of (key, JSON value).

    Args:
        condition: a run's own condition, or one that its readout compares it with.
        config: the run's resolved `RunConfig`.

    Raises:
        ConfigError: this version does not know the condition.
    """
    if condition not in CONDITIONS:
        raise ConfigError(f"condition '{condition}': expected one of {', '.join(CONDITIONS)}; is it of another version?")
    content = without_folders(config.to_dict())
    if CONDITIONS[condition].reads == "principal components":
        content |= {"encoder": {"embedding_dim": config.each_encoder()[0].embedding_dim}, "encoders": None}
    elif config.encoders is not None:
        del content["encoder"]  # the one takes the other's place
    if content["readout"]["max_iter"] is None:
        content["readout"]["max_iter"] = PROBE_ITERATIONS[config.readout.protocol]
    row = CONDITIONS[condition]
    return frozenset(
        (key, json.dumps(value)) for key, value in flat(content) if counts("result", key) and _follows_from(key, row)
    )


def _follows_from(key, condition):
    """Whether a condition's result follows from a key that counts."""
    section, _, name = key.partition(".")
    if section == "condition":
        return False  # is known
    if section == "objective":
        return name.split(".")[0] in condition.objective
    if section in ("augmentation", "optimizer", "training"):
        return condition.trained or name == "validation_fraction"
    if key == "encoder.embedding_dim" and condition.reads == "principal components":
        return True
    if section in ("encoder", "encoders", "compute"):
        return condition.embeds
    return condition.reads != "input" or section not in ("masks", "num_encoders")


def baseline_of(config: RunConfig, condition: str) -> tuple[frozenset[tuple[str, str]], tuple[int, ...]]:
    """The key under which the result of a condition that trains nothing is found: what it follows from, seeds included.

    Args:
        config: a run's resolved `RunConfig`.
        condition: the run's own condition, or one that its readout compares it with.

    Returns:
        (as `result_of`, seeds), hashable.
    """
    seeds = config.seeds.model_dump()
    names = (*_SEEDS_READ[CONDITIONS[condition].reads], "validation_split", "readout")
    return result_of(condition, config), tuple(seeds[name] for name in names)


def settings_of(config: RunConfig) -> dict[str, Any]:
    """What the runs of one group in a report have in common: dict key.path -> value.

    Unlike `result_of` it has every key, also those that the condition does without, and files with their folders.

    Args:
        config: resolved `RunConfig`.
    """
    return {key: value for key, value in flat(config.to_dict()) if counts("group", key)}


def keys_apart(one: RunConfig, other: RunConfig) -> list[tuple[str, Any, Any]]:
    """The keys that keep two configs from being trained in one.

    Args:
        one, other: resolved `RunConfig`s.

    Returns:
        List of (key.path, value in `one`, value in `other`).
    """
    differing = _differing(one.to_dict(), other.to_dict())
    return [found for found in differing if counts("together", found[0]) and found[0].split(".")[0] not in APART_TOGETHER]


def free_together() -> list[str]:
    """The keys and sections at the top of a config that trainings in one may differ in, as a list of str."""
    sections = dict.fromkeys(key.partition(".")[0] for key in ROLES if key not in ("$schema", "base"))
    counted = {key.partition(".")[0] for key in ROLES if counts("together", key)} - {*APART_TOGETHER}
    return [section for section in sections if section not in counted]


def data_named(config: RunConfig) -> dict[str, Any]:
    """The data that a config names, as plain data, wherever its files lie."""
    named = without_folders(config.to_dict())["dataset"]
    named.pop("data_dir", None)
    return named


def flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key.path, value) of every value that is no object."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the bare names of its files: where they lie says nothing to others."""
    for section in (config["dataset"], config["masks"]):
        for key in PATH_KEYS:
            if section.get(key):
                section[key] = Path(section[key]).name
    return config
