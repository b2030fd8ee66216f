"""The run config as a whole: what its parts must agree on, and how its defaults are written out."""

import itertools
import json
import os
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from closer_tf.common.files import given_path
from closer_tf.common.values import BOUNDS
from closer_tf.config import identity
from closer_tf.config.base import NameOf, Section, inconsistent
from closer_tf.config.conditions import CONDITIONS
from closer_tf.config.encoders import Encoder, MLPEncoder, OwnEncoder, RNNEncoder, ViTEncoder
from closer_tf.config.masks import GaussianMasks, Masks
from closer_tf.config.objective import CustomGraph, Objective, TermWeights, build_graph
from closer_tf.config.readout import Readout
from closer_tf.config.sources import PATH_KEYS, Dataset, DigitsSource, RecordingSource
from closer_tf.config.training import Augmentation, Compute, Nadam, Seeds, Training, derived_seed
from closer_tf.errors import ConfigError, DataError


class RunConfig(Section):
    """One training run of a CLoSeR ensemble and its readout."""

    schema_: str | None = Field(None, alias="$schema")
    """Where an editor finds the JSON Schema of this file; ignored otherwise."""
    base: str | None = Field(None, exclude=True)
    """The run config that this one stands on and whose keys hold where it has none: a path, relative to this file, or the name
    of one that ships with the package. See above."""
    description: str = ""
    """What this run is: the figure it reproduces, the published accuracy, the time it takes."""
    seed: int = Field(0, ge=0, lt=2**63)
    """The seed that all of `seeds` derive from."""
    deterministic: bool = False
    """Use only operations that give the same bits every time, also on a GPU, where it costs time; it turns XLA off. Not needed
    on a CPU. See docs/reproducibility.md."""
    condition: Annotated[str, NameOf(lambda: CONDITIONS)] = "closer"
    """What the encoders learn from: each other ('closer'), each other's recent past ('tcloser'), each other without time
    ('notcloser'), their own recent past ('lpl'), each other without contrast ('distilled'), or labels, each on its own with a
    linear head ('supervised'); 'made_in_python' is what the folder of a model made in Python says. The others train nothing:
    encoders at their initialisation, the raw input through the masks, its principal components, the whole raw input."""
    num_encoders: int = Field(10, **BOUNDS["num_encoders"])
    """Number of encoders in the ensemble [N]."""
    dataset: Dataset = DigitsSource()
    """The data, chosen by `dataset.name`."""
    augmentation: Augmentation = Augmentation()
    """Augmentation during training."""
    masks: Masks = GaussianMasks(scheme="gaussian")
    """The receptive fields [m_i], chosen by `masks.scheme`."""
    encoder: Encoder = MLPEncoder(type="mlp")
    """The encoders [mu_i], chosen by `encoder.type`."""
    encoders: list[Encoder] | None = None
    """One encoder per receptive field where they differ, in place of `encoder`; all need the same `embedding_dim`."""
    objective: Objective = Objective()
    """What is minimised."""
    optimizer: Nadam = Nadam()
    """How it is minimised."""
    training: Training = Training()
    """How long and in which batches."""
    compute: Compute = Compute()
    """How it is computed."""
    seeds: Seeds = Seeds()
    """Seeds of the single sources of randomness."""
    readout: Readout = Readout()
    """The linear probe."""

    @model_validator(mode="after")
    def _parts_agree(self):
        areas = getattr(self.masks, "areas", None)
        if areas is not None and len(areas) != self.num_encoders:
            inconsistent("masks.areas", f"expected {self.num_encoders} areas (num_encoders), found {len(areas)}")
        if areas is not None and len(set(areas)) < len(areas):
            twice = next(area for area in areas if areas.count(area) > 1)
            inconsistent("masks.areas", f"expected each area once, found '{twice}' {areas.count(twice)} times")
        terms = CONDITIONS[self.condition].weights
        for name, weight in self.objective.weights or ():
            if weight and name not in terms:
                expected = f"expected {', '.join(terms)}" if terms else "it has no weights, expected null"
                inconsistent(f"objective.weights.{name}", f"no term of '{self.condition}'; {expected}")
        if terms and not any({**terms, **_given(self.objective.weights)}.values()):
            inconsistent("objective.weights", "at least one term needs a weight other than 0, found none")
        if self.objective.options and "options" not in CONDITIONS[self.condition].objective:
            inconsistent("objective.options", f"'{self.condition}' has none; they are of an objective of your own")
        if self.compute.xla and (self.augmentation.horizontal_flip or self.augmentation.rotation or self.augmentation.zoom):
            inconsistent("compute.xla", "XLA cannot compile TensorFlow's augmentation; expected false, or no augmentation")
        if self.compute.xla and self.compute.distribution != "none":
            inconsistent("compute.xla", "XLA cannot compile a step of several devices; expected false, or distribution 'none'")
        if self.encoders is not None:
            if len(self.encoders) != self.num_encoders:
                inconsistent("encoders", f"expected {self.num_encoders} encoders (num_encoders), found {len(self.encoders)}")
            widths = sorted({encoder.embedding_dim for encoder in self.encoders})
            if len(widths) > 1:
                inconsistent("encoders", f"all encoders need the same embedding_dim, found {widths}")
            kinds = sorted({encoder.type for encoder in self.encoders})
            if isinstance(self.dataset, RecordingSource) and "rnn" in kinds and len(kinds) > 1:
                inconsistent(
                    "encoders", f"of recordings, all encoders run over windows or none; expected all 'rnn', found {kinds}"
                )
        push = self.objective.push
        for name in ("push", "momentum"):
            if getattr(self.objective, name) is not None and name not in CONDITIONS[self.condition].objective:
                inconsistent(f"objective.{name}", f"no part of '{self.condition}'; expected null")
        if self.objective.local and "local" not in CONDITIONS[self.condition].objective:
            inconsistent("objective.local", f"'{self.condition}' is not trained layer by layer; expected false")
        for key, asked in (("objective.local", self.objective.local), ("readout.layers", self.readout.layers)):
            if asked:
                self._check_layers(key)
        if self.objective.momentum is not None and self.compute.distribution != "none":
            inconsistent("objective.momentum", "moving averages are kept on one device; expected null, or distribution 'none'")
        somewhere = np.zeros((self.num_encoders, 2))  # where the fields lie shows later
        for key, graph in (("objective.graph", self.objective.graph), ("objective.push.graph", push and push.graph)):
            if graph is not None and not (isinstance(graph, CustomGraph) and graph.path is not None):
                try:
                    build_graph(graph, self.num_encoders, seed=0, centres=somewhere)
                except ValueError as error:
                    inconsistent(key, str(error))
        return self

    def _check_layers(self, key):
        for i, encoder in enumerate(self.each_encoder()):
            if encoder.type != "mlp":
                inconsistent(key, f"expected encoders of type mlp, found '{encoder.type}' (encoder {i})")
        for layer, widths in enumerate(itertools.zip_longest(*(encoder.hidden for encoder in self.each_encoder()))):
            if len(set(widths)) > 1:
                found = ", ".join("none" if width is None else str(width) for width in dict.fromkeys(widths))
                inconsistent(key, f"layer {layer + 1} needs one width in all encoders, found {found}")

    @property
    def trains(self) -> bool:
        """Whether the condition trains."""
        return CONDITIONS[self.condition].trained

    @property
    def takes_windows(self) -> bool:
        """Whether the encoders run over windows of consecutive bins."""
        return isinstance(self.dataset, RecordingSource) and self.each_encoder()[0].type == "rnn"

    def each_encoder(self) -> list[MLPEncoder | ViTEncoder | RNNEncoder | OwnEncoder]:
        """List of the N encoders' options."""
        return self.encoders or [self.encoder] * self.num_encoders

    def read_out_at(self) -> list[int]:
        """The epochs of `readout.at_epochs` that this training reaches; none where nothing is trained."""
        if not self.trains:
            return []
        return [epoch for epoch in self.readout.at_epochs if epoch <= self.training.epochs]

    def resolved(self) -> Self:
        """The same config with every default that depends on other keys written out (seeds, temperature, weights, paths).

        Returns:
            A `RunConfig`; resolving it again changes nothing.

        Raises:
            ConfigError: a file of a graph cannot be read or holds none, or a path is none. The message begins with the key.
        """
        seeds = {
            name: derived_seed(self.seed, name) if value is None else value for name, value in self.seeds.model_dump().items()
        }
        update: dict[str, Any] = {"schema_": None, "seeds": Seeds(**seeds)}
        if self.objective.temperature is None:
            encoders = self.each_encoder()
            some_vit = any(encoder.type == "vit_lite" for encoder in encoders)
            temperature = 10.0 if some_vit else 10.0 * encoders[0].embedding_dim
            update["objective"] = self.objective.model_copy(update={"temperature": temperature})
        papers = CONDITIONS[self.condition].weights
        if papers:
            objective = update.get("objective", self.objective)
            weights = {name: papers.get(name, 0.0) for name in TermWeights.model_fields}
            weights |= _given(self.objective.weights)
            update["objective"] = objective.model_copy(update={"weights": TermWeights(**weights)})
        for name in ("dataset", "masks"):
            update[name] = _with_absolute_paths(getattr(self, name), name)
        objective = update.get("objective", self.objective)
        graphs: dict[str, Any] = {"graph": _written_out(objective.graph, self.num_encoders, "objective.graph")}
        if objective.push is not None:
            pushed = _written_out(objective.push.graph, self.num_encoders, "objective.push.graph")
            graphs["push"] = objective.push.model_copy(update={"graph": pushed})
        update["objective"] = objective.model_copy(update=graphs)
        return self.model_copy(update=update)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON data, every key written out."""
        return self.model_dump(mode="json", exclude={"schema_"})

    def to_json(self) -> str:
        """The config as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def digest(self) -> str:
        """SHA-256 (hex) of what the trained weights follow from: see `closer_tf.config.identity.digest`."""
        return identity.digest(self)


def _given(weights):
    """dict name -> weight of the temporal terms that a config gives one to."""
    return {name: weight for name, weight in weights or () if weight is not None}


def _with_absolute_paths(section, name):
    paths = {}
    for key in PATH_KEYS:
        value = getattr(section, key, None)
        if value is not None:
            try:
                os.fsencode(value)
                paths[key] = os.path.abspath(given_path(value))
            except ValueError as error:  # a NUL, or half of a surrogate pair
                raise ConfigError(f"{name}.{key}: no file can have this name: {error}") from None
    return section.model_copy(update=paths)


def _written_out(options, num_encoders, key):
    """A graph from a file as edges and weights, so that a run does not depend on the file any longer."""
    if getattr(options, "path", None) is None:
        return options
    try:
        graph = build_graph(options.model_copy(update={"weighting": "uniform"}), num_encoders, seed=0)
    except (DataError, ValueError) as error:
        raise ConfigError(f"{key}.path: {error}") from None
    update = {"path": None, "edges": graph.edges.tolist(), "weights": graph.weights.tolist()}
    return options.model_copy(update=update)
