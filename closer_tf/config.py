"""The run config: what is trained on what, from which seeds, and how it is read out.

A run config is a JSON object. `load_config` reads, overrides, validates and resolves it; everything downstream gets plain
arguments. This file never imports TensorFlow. Nothing in a config is evaluated: strings are data.

Symbols in square brackets are those of the paper: N encoders, D embedding dimension, q image fraction, tau temperature.
"""

import difflib
import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from closer_tf import graphs
from closer_tf.errors import ConfigError, DataError

SEED_NAMES = (
    "masks",
    "graph",
    "initialization",
    "dropout",
    "augmentation",
    "data_order",
    "validation_split",
    "readout",
)
PATH_KEYS = ("path", "test_path", "data_dir")
CHECKPOINT_KEYS = ("checkpoint_every", "checkpoint_minutes", "keep_checkpoints")
MAX_CHARACTERS = 10_000_000  # of a config file
MAX_WIDTH = 2**16  # of a layer; with the other upper bounds it keeps mistyped numbers from filling the memory
MAX_SEED = 2**31 - 1  # what every random number generator in use takes
PUBLISHED_C_GRID = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
PROBE_ITERATIONS = {"published": 100, "converged": 5000}  # readout.protocol -> most iterations per fit


def suggestion(word, known):
    """' Did you mean ...?' for the closest of `known`, or '' when nothing is close."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


class Section(BaseModel):
    """One object of the config: strict types, no unknown keys, not changed after validation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_keys(cls, value):
        if isinstance(value, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in value:
                if key not in known:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}'.{hint} Known keys here: {known}",
                        {"key": key, "hint": suggestion(key, known), "known": ", ".join(known)},
                    )
        return value


# ---------------------------------------------------------------------------------------------------------------- data


class ImageSource(Section):
    """What all image sources share."""

    input_scale: float | None = Field(None, gt=0)
    """Pixels are multiplied by this inside the model. Default null: 1 / the source's largest pixel value (1/255 for
    8-bit images, 1/16 for digits, 1 / the largest value of other integers, 1 for floating-point arrays). The published ViT
    runs used 1."""


class DigitsSource(ImageSource):
    """scikit-learn's 1797 handwritten digits, 8 x 8 pixels, one channel. Ships with scikit-learn; no download."""

    name: Literal["digits"] = "digits"
    """Chooses this source."""
    test_fraction: float = Field(0.25, gt=0, lt=1)
    """Fraction of the images of each class held out as the test set, the same images for every seed."""


class CifarSource(ImageSource):
    """CIFAR-10 or CIFAR-100 through TensorFlow Datasets: 50,000 + 10,000 images, 32 x 32 pixels, 3 channels."""

    name: Literal["cifar10", "cifar100"]
    """Chooses this source."""
    data_dir: str | None = None
    """TensorFlow Datasets directory. Default null: $TFDS_DATA_DIR, or ~/tensorflow_datasets. Downloaded there when absent."""


class ImageFolderSource(ImageSource):
    """Your own images: one subfolder per class, holding PNG or JPEG files."""

    name: Literal["image_folder"]
    """Chooses this source."""
    path: str
    """Folder with one subfolder per class."""
    test_path: str | None = None
    """Folder of the same layout with the test images. Default null: `test_fraction` of each class under `path`."""
    image_size: list[Annotated[int, Field(ge=1, le=10_000)]] = Field([32, 32], min_length=2, max_length=2)
    """[height, width] in pixels that every image is resized to (bilinear)."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Fraction of the images of each class held out as the test set when there is no `test_path`."""


class ArraysSource(ImageSource):
    """Your own arrays: an .npz with x_train (n, height, width, channels), y_train (n,), x_test, y_test and optionally
    label_names. Without x_test, `test_fraction` of each class is held out."""

    name: Literal["arrays"]
    """Chooses this source."""
    path: str
    """The .npz file."""
    test_fraction: float = Field(0.2, gt=0, lt=1)
    """Fraction of the samples of each class held out as the test set when the file has no x_test."""


class RecordingSource(Section):
    """What all recordings share: spike counts per unit, every unit in a brain area. Split by trial, never at random."""

    standardise: bool = False
    """Z-score each unit's counts with the training set's mean and standard deviation, inside the model. The paper: raw."""


class SessionSource(RecordingSource):
    """A session file of your own or from `python -m closer_tf.data.allen`: two or more stimuli, each shown repeatedly."""

    name: Literal["session"]
    """Chooses this source."""
    path: str
    """The .npz file."""
    stimuli: list[str] | None = None
    """Stimuli in the order of their labels. Default null: all in the file."""
    label: Literal["stimulus", "segment", "time"] = "stimulus"
    """What is read out: which stimulus, which part of it, or the time within it (from 0 to 1, by linear regression)."""
    segments: int = Field(3, ge=2)
    """Number of equal parts for label 'segment'."""
    full_range: bool = False
    """Use every bin that has one before it; the paper leaves out the first and the last of these in each trial."""


class SimulatedSource(RecordingSource):
    """A simulated session of two movies, for a first try without a download; no animal was recorded."""

    name: Literal["simulated"]
    """Chooses this source."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the simulation."""
    size: Literal["small", "paper"] = "small"
    """'small': six areas, 120 and 480 frames. 'paper': ten areas, 668 units, 900 and 3600 frames."""
    label: Literal["stimulus", "segment", "time"] = "stimulus"
    """As for 'session'."""
    segments: int = Field(3, ge=2)
    """As for 'session'."""
    full_range: bool = False
    """As for 'session'."""


class NaturalMovieSource(RecordingSource):
    """An array file of natural movie one in bins of one second (`counts`, `areas`, `unit_ids`)."""

    name: Literal["natural_movie"]
    """Chooses this source."""
    path: str
    """The .npz file."""
    label: Literal["segment", "time"] = "segment"
    """As for 'session'."""
    segments: int = Field(3, ge=2)
    """As for 'session'."""
    full_range: bool = False
    """As for 'session'."""


class GaborsSource(RecordingSource):
    """An array file of Gabor patches shown one by one (`counts`, `areas`, `x`, `y`, ...); the label is the position."""

    name: Literal["gabors"]
    """Chooses this source."""
    path: str
    """The .npz file."""


Dataset = Annotated[
    DigitsSource
    | CifarSource
    | ImageFolderSource
    | ArraysSource
    | SessionSource
    | SimulatedSource
    | NaturalMovieSource
    | GaborsSource,
    Field(discriminator="name"),
]


class Augmentation(Section):
    """Random changes of each training image, before masking: all encoders see the same changed image. Off by default."""

    horizontal_flip: bool = False
    """Mirror half of the images left to right."""
    rotation: float = Field(0.0, ge=0, le=0.5)
    """Largest rotation either way, in full turns (0.02 is 7.2 degrees). The paper: 0.02."""
    zoom: float = Field(0.0, ge=0, lt=1)
    """Largest relative zoom out or in (0.2 shows 80% to 120% of the image's side). The paper: 0.2."""


# --------------------------------------------------------------------------------------------------- receptive fields


class GaussianMasks(Section):
    """Pixels drawn around a random centre with probability exp(-distance^2 / (2 sigma^2))."""

    scheme: Literal["gaussian"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, gt=0, le=1)
    """Fraction of the image's pixels that each encoder sees [q]."""
    sigma: float = Field(2.0, ge=0.01, le=1e6)
    """Standard deviation of the Gaussian, in pixels. The paper: 2; 3 and 5 in figure S1."""


class RandomPatchMasks(Section):
    """Square patches drawn uniformly for each encoder."""

    scheme: Literal["random_patches"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, gt=0, le=1)
    """Fraction of the image's patches that each encoder sees [q]."""
    patch_size: int = Field(4, ge=1)
    """Side of a patch, in pixels; has to divide the image's sides. The paper: 4; 1 and 2 in figure S1."""


class ContiguousPatchMasks(Section):
    """Square patches near a random centre patch, with a ragged border."""

    scheme: Literal["contiguous_patches"]
    """Chooses this mask scheme."""
    fraction: float = Field(0.1, gt=0, le=1)
    """Fraction of the image's patches that each encoder sees [q]."""
    patch_size: int = Field(4, ge=1)
    """Side of a patch, in pixels; has to divide the image's sides. The paper: 4."""
    centres: Literal["paper", "published"] = "paper"
    """'paper': distinct centres off the image's edge. 'published': as in the published figures, where centres repeat and lean
    to the upper left."""


class CustomMasks(Section):
    """Masks of your own: a boolean array (encoders, rows, columns) in an .npy or .npz file (array `masks`)."""

    scheme: Literal["custom"]
    """Chooses this mask scheme."""
    path: str
    """The .npy or .npz file."""
    patch_size: int = Field(1, ge=1)
    """Side of one entry of the array, in pixels of the image."""


class AreaMasks(Section):
    """Each encoder sees all units of one brain area."""

    scheme: Literal["areas"]
    """Chooses this mask scheme."""
    areas: list[str] | None = None
    """One area per encoder. Default null: the `num_encoders` areas with most units."""


Masks = Annotated[
    GaussianMasks | RandomPatchMasks | ContiguousPatchMasks | CustomMasks | AreaMasks,
    Field(discriminator="scheme"),
]


# ------------------------------------------------------------------------------------------------------------ encoders


class MLPEncoder(Section):
    """Fully connected encoder with GELU and dropout after each hidden layer and a linear output."""

    type: Literal["mlp"]
    """Chooses this encoder."""
    hidden: list[Annotated[int, Field(ge=1, le=MAX_WIDTH)]] = Field([1024, 512, 256], max_length=100)
    """Widths of the hidden layers. The paper: 1024, 512, 256 for images; 32, 32 for neurons."""
    embedding_dim: int = Field(256, ge=1, le=MAX_WIDTH)
    """Width of the output [D]."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Fraction of hidden activities dropped in training."""
    l1: float = Field(0.0, ge=0)
    """Weight of the kernels' summed absolute values in the loss. The paper: 5e-6 for neurons."""
    l2: float = Field(0.0, ge=0)
    """Weight of the kernels' summed squares in the loss. The paper: 5e-6 for neurons."""


class ViTEncoder(Section):
    """Small vision transformer over the cells of the receptive field: patches, or single pixels."""

    type: Literal["vit_lite"]
    """Chooses this encoder."""
    embedding_dim: int = Field(256, ge=1, le=MAX_WIDTH)
    """Width of tokens and output [D]."""
    blocks: int = Field(2, ge=1, le=100)
    """Number of transformer blocks."""
    heads: int = Field(4, ge=1, le=1024)
    """Attention heads."""
    key_dim: int = Field(64, ge=1, le=MAX_WIDTH)
    """Width of queries, keys and values per head."""
    mlp_dim: int = Field(512, ge=1, le=MAX_WIDTH)
    """Hidden width of each block's MLP."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Fraction dropped in training, of attention weights and of activities."""


Encoder = Annotated[MLPEncoder | ViTEncoder, Field(discriminator="type")]


# ------------------------------------------------------------------------------------------------- objective, training


class NamedGraph(Section):
    """A graph that follows from the number of encoders alone."""

    family: Literal["all_to_all", "star", "bidirectional_ring", "directional_ring"]
    """'all_to_all': every ordered pair. 'star': all towards encoder 0 and back. 'bidirectional_ring': each towards its two
    neighbours. 'directional_ring': each towards the next two."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """'uniform': every edge weighs the same. 'per_target': edges weigh 1 / in-degree of their target (the published star)."""


class RandomGraph(Section):
    """Ordered pairs drawn uniformly without repeats, from `seeds.graph` [G_N^k]."""

    family: Literal["random"]
    """Chooses this family."""
    num_edges: int = Field(ge=1)
    """Number of edges [k], at most N (N - 1)."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """As for the other graphs."""


class CustomGraph(Section):
    """A graph of your own: `edges`, or the weighted N x N matrix of a .json or .npz file (array `graph`)."""

    family: Literal["custom"]
    """Chooses this family."""
    edges: list[Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]] | None = None
    """Pairs [i, j]: encoder i is pulled towards encoder j."""
    weights: list[Annotated[float, Field(ge=0)]] | None = None
    """One weight per edge, scaled to sum to 1. Default null: all the same."""
    path: str | None = None
    """File with a matrix whose entry (i, j) is the weight of edge (i, j); 0 is no edge. The run keeps the edges."""
    weighting: Literal["uniform", "per_target"] = "uniform"
    """'uniform': weights as given. 'per_target': each divided by the sum of the weights towards its target."""

    @model_validator(mode="after")
    def _one_source(self):
        if (self.edges is None) == (self.path is None):
            raise PydanticCustomError("inconsistent", "expected either 'edges' or 'path'")
        if self.weights is not None and self.path is not None:
            raise PydanticCustomError("inconsistent", "'weights' go with 'edges'; the file at 'path' holds its own")
        return self


Graph = Annotated[NamedGraph | RandomGraph | CustomGraph, Field(discriminator="family")]


class TermWeights(Section):
    """Weights of the terms of a temporal objective (equations 6 to 12). Default null: the paper's for the condition, 0 where
    the condition has no such term."""

    tpull: float | None = Field(None, ge=0)
    """Squared distance to what the other encoders said one bin before [L_tpull]."""
    pull: float | None = Field(None, ge=0)
    """Squared distance to what the other encoders say now [L_pull]."""
    cont: float | None = Field(None, ge=0)
    """Squared distance to what the encoder itself said one bin before [L_cont]."""
    var: float | None = Field(None, ge=0)
    """Keeps every dimension's variance up [L_var]."""
    cov: float | None = Field(None, ge=0)
    """Keeps dimensions uncorrelated [L_cov]."""


class Objective(Section):
    """What the encoders minimise: the CLoSeR loss (equations 1 to 5), or temporal terms (equations 6 to 12)."""

    temperature: float | None = Field(None, gt=0)
    """Scale of squared embedding distances [tau]. Default null: 10 D for MLP encoders, 10 for ViT encoders."""
    graph: Graph = NamedGraph(family="all_to_all")
    """The interaction graph [G]."""
    stop_gradient: bool = False
    """True: an edge (i, j) moves encoder i only. The paper trains plain all-to-all without, every other graph with it."""
    weights: TermWeights | None = None
    """Weights of the temporal terms, for the conditions tcloser, notcloser and lpl. Default null: all the paper's."""


class Nadam(Section):
    """Nadam as in TensorFlow 2.6."""

    name: Literal["nadam"] = "nadam"
    """Chooses this optimizer."""
    learning_rate: float = Field(1e-3, gt=0)
    """Step size."""
    beta_1: float = Field(0.9, ge=0, lt=1)
    """Decay of the gradient's mean, per step."""
    beta_2: float = Field(0.999, ge=0, lt=1)
    """Decay of the squared gradient's mean, per step."""
    epsilon: float = Field(1e-7, gt=0)
    """Added to the root of the squared gradient's mean."""
    schedule_decay: float = Field(0.004, ge=0)
    """Speed of the momentum warm-up: mu_t = beta_1 (1 - 0.5 * 0.96^(schedule_decay t)). TensorFlow 2.6: 0.004; Keras 3: 1."""


class Training(Section):
    """The training loop."""

    epochs: int = Field(100, ge=0)
    """Passes over the training set. The paper: 1000 (MLP), 2000 (ViT), 300 (neurons). The last epoch is what is read out."""
    batch_size: int = Field(128, ge=2)
    """Samples per step [B]; the other samples of the batch are each sample's contrast. The last, smaller batch is kept."""
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    """Fraction of the training set kept aside to log the loss on; it selects nothing."""
    checkpoint_every: int = Field(1, ge=1)
    """Epochs between checkpoints. The last epoch always has one."""
    checkpoint_minutes: float | None = Field(None, gt=0)
    """Also write a checkpoint when the last one is older than this, in the middle of an epoch too. Default null: don't."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the latest checkpoints stay on disk. The older ones serve where the latest is damaged."""


class Compute(Section):
    """How it is computed: what changes speed and memory, and results by rounding only."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """'bfloat16': the encoders compute in bfloat16 (3 digits); weights, loss and optimizer stay in float32. Faster on
    processors with products of that kind."""
    xla: bool = False
    """Compile TensorFlow's training step with XLA; not together with augmentation, which it cannot compile. JAX always does."""
    loss_memory_mb: float = Field(1024.0, gt=0)
    """Most memory, in MiB, for what the CLoSeR loss computes per pair of samples; more than that is computed in blocks."""


class Seeds(Section):
    """Where the random numbers come from; each is derived from the config's `seed` when it is null."""

    masks: int | None = Field(None, ge=0, le=MAX_SEED)
    """Receptive fields."""
    graph: int | None = Field(None, ge=0, le=MAX_SEED)
    """Random interaction graphs."""
    initialization: int | None = Field(None, ge=0, le=MAX_SEED)
    """Encoder weights before training."""
    dropout: int | None = Field(None, ge=0, le=MAX_SEED)
    """Dropout during training."""
    augmentation: int | None = Field(None, ge=0, le=MAX_SEED)
    """Augmentation during training."""
    data_order: int | None = Field(None, ge=0, le=MAX_SEED)
    """Order of the training samples, anew for each epoch."""
    validation_split: int | None = Field(None, ge=0, le=MAX_SEED)
    """Which samples form the training loop's validation set."""
    readout: int | None = Field(None, ge=0, le=MAX_SEED)
    """Which samples form the readout's own validation set."""


class Readout(Section):
    """The linear probe: multinomial logistic regression on the z-scored embeddings."""

    after_training: bool = True
    """Read out as soon as the training is done."""
    C: list[Annotated[float, Field(ge=0)]] = Field(list(PUBLISHED_C_GRID), min_length=1)
    """Inverse L2 penalties to choose from by validation accuracy; 0 stands for no penalty. Ties go to the first."""
    protocol: Literal["published", "converged"] = "published"
    """How the probe is fitted. 'published': as scikit-learn does by default, which stops most fits after 100 iterations, short
    of the optimum. 'converged': each fit to its optimum, by scikit-learn's objective and tolerance."""
    max_iter: int | None = Field(None, ge=1)
    """Most L-BFGS iterations per fit. Default null: the protocol's own, 100 for 'published' and 5000 for 'converged'."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Fraction of all training samples that chooses C; drawn apart from the training loop's validation set."""
    conditions: list[Literal["masked_input", "full_input", "untrained"]] = ["masked_input", "untrained"]
    """What to read out beside the run's own condition, for comparison."""
    pseudo_likelihood_draws: int = Field(100, ge=1, le=1_000_000)
    """How many random sets of samples the class mean pseudo-likelihood is averaged over. A draw costs the square of the number
    of classes: 100 draws at 100 classes take some 2 minutes of one core for each encoder and condition."""
    knn_neighbours: int | None = Field(None, ge=1)
    """Also classify by the k nearest training samples. Default null: don't."""


TEMPORAL_CONDITIONS = ("tcloser", "notcloser", "lpl")
TRAINED_CONDITIONS = ("closer", "supervised", *TEMPORAL_CONDITIONS)
PAPER_WEIGHTS = {
    "tcloser": {"tpull": 2.0, "var": 1.0, "cov": 10.0},
    "notcloser": {"pull": 2.0, "var": 1.0, "cov": 10.0},
    "lpl": {"cont": 1.0, "var": 1.0, "cov": 10.0},
}


class RunConfig(Section):
    """One training run of a CLoSeR ensemble and its readout."""

    schema_: str | None = Field(None, alias="$schema")
    """Where an editor finds the JSON Schema of this file; ignored otherwise."""
    description: str = ""
    """What this run is: the figure it reproduces, the published accuracy, the time it takes."""
    seed: int = Field(0, ge=0, lt=2**63)
    """The seed that all of `seeds` derive from."""
    deterministic: bool = False
    """Use only operations that give the same bits every time, also on a GPU, where it costs time; it turns XLA off. Not needed
    on a CPU. See docs/reproducibility.md."""
    condition: Literal["closer", "tcloser", "notcloser", "lpl", "supervised", "untrained", "masked_input", "full_input"] = (
        "closer"
    )
    """What the encoders learn from: each other ('closer'), each other's recent past ('tcloser'), each other without time
    ('notcloser'), their own recent past ('lpl'), or labels, each on its own with a linear head ('supervised'). The others train
    nothing: encoders at their initialisation, the raw input through the masks, the whole raw input."""
    num_encoders: int = Field(10, ge=2, le=1000)
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
            _inconsistent("masks.areas", f"expected {self.num_encoders} areas (num_encoders), found {len(areas)}")
        if areas is not None and len(set(areas)) < len(areas):
            twice = next(area for area in areas if areas.count(area) > 1)
            _inconsistent("masks.areas", f"expected each area once, found '{twice}' {areas.count(twice)} times")
        terms = PAPER_WEIGHTS.get(self.condition, {})
        for name, weight in self.objective.weights or ():
            if weight and name not in terms:
                expected = f"expected {', '.join(terms)}" if terms else "it has no weights, expected null"
                _inconsistent(f"objective.weights.{name}", f"no term of '{self.condition}'; {expected}")
        if self.compute.xla and (self.augmentation.horizontal_flip or self.augmentation.rotation or self.augmentation.zoom):
            _inconsistent("compute.xla", "XLA cannot compile TensorFlow's augmentation; expected false, or no augmentation")
        if self.encoders is not None:
            if len(self.encoders) != self.num_encoders:
                _inconsistent("encoders", f"expected {self.num_encoders} encoders (num_encoders), found {len(self.encoders)}")
            widths = sorted({encoder.embedding_dim for encoder in self.encoders})
            if len(widths) > 1:
                _inconsistent("encoders", f"all encoders need the same embedding_dim, found {widths}")
        if not isinstance(self.objective.graph, CustomGraph) or self.objective.graph.path is None:
            try:
                build_graph(self.objective.graph, self.num_encoders, seed=0)
            except ValueError as error:
                _inconsistent("objective.graph", str(error))
        return self

    def each_encoder(self):
        """List of the N encoders' options."""
        return self.encoders or [self.encoder] * self.num_encoders

    def resolved(self):
        """The same config with every default that depends on other keys written out (seeds, temperature, weights, paths).

        Returns:
            A `RunConfig`; resolving it again changes nothing.
        """
        seeds = {
            name: derived_seed(self.seed, name) if value is None else value for name, value in self.seeds.model_dump().items()
        }
        update = {"schema_": None, "seeds": Seeds(**seeds)}
        if self.objective.temperature is None:
            encoders = self.each_encoder()
            all_mlp = all(encoder.type == "mlp" for encoder in encoders)
            temperature = 10.0 * encoders[0].embedding_dim if all_mlp else 10.0
            update["objective"] = self.objective.model_copy(update={"temperature": temperature})
        if self.condition in PAPER_WEIGHTS:
            objective = update.get("objective", self.objective)
            weights = {name: PAPER_WEIGHTS[self.condition].get(name, 0.0) for name in TermWeights.model_fields}
            for name, weight in self.objective.weights or ():
                weights[name] = weights[name] if weight is None else weight
            update["objective"] = objective.model_copy(update={"weights": TermWeights(**weights)})
        for name in ("dataset", "masks"):
            update[name] = _with_absolute_paths(getattr(self, name))
        objective = update.get("objective", self.objective)
        update["objective"] = objective.model_copy(update={"graph": _written_out(objective.graph, self.num_encoders)})
        return self.model_copy(update=update)

    def to_dict(self):
        """The config as plain JSON data, every key written out."""
        return self.model_dump(mode="json", exclude={"schema_"})

    def to_json(self):
        """The config as indented JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def digest(self):
        """SHA-256 (hex) of what the trained weights follow from: not the description, the readout, when checkpoints are
        written, or where the data lies.

        Keys at their default and temporal terms of weight 0 do not count either, so that a new key does not make old runs
        another config.
        """
        apart = {"schema_": True, "description": True, "readout": True, "dataset": set(PATH_KEYS)}
        apart["training"] = set(CHECKPOINT_KEYS)
        content = self.model_dump(mode="json", exclude=apart, exclude_defaults=True)
        weights = content.get("objective", {}).get("weights")
        if weights:
            content["objective"]["weights"] = {name: weight for name, weight in weights.items() if weight}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _with_absolute_paths(section):
    paths = {}
    for key in PATH_KEYS:
        value = getattr(section, key, None)
        if value is not None:
            try:
                os.fsencode(value)
                paths[key] = os.path.abspath(os.path.expanduser(value))
            except ValueError as error:  # a NUL, or half of a surrogate pair
                raise ConfigError(f"{key}: no file can have this name: {error}") from None
    return section.model_copy(update=paths)


def _written_out(options, num_encoders):
    """A graph from a file as edges and weights, so that a run does not depend on the file any longer."""
    if getattr(options, "path", None) is None:
        return options
    try:
        graph = build_graph(options.model_copy(update={"weighting": "uniform"}), num_encoders, seed=0)
    except ValueError as error:
        raise ConfigError(f"objective.graph: {error}") from None
    update = {"path": None, "edges": graph.edges.tolist(), "weights": graph.weights.tolist()}
    return options.model_copy(update=update)


def _inconsistent(key, message):
    raise PydanticCustomError("inconsistent", "{message}", {"key": key, "message": message})


_NAMED_GRAPHS = {
    "all_to_all": graphs.all_to_all,
    "star": graphs.star,
    "bidirectional_ring": graphs.bidirectional_ring,
    "directional_ring": graphs.directional_ring,
}


def build_graph(options, num_encoders, seed):
    """The interaction graph that a config's `objective.graph` describes.

    Args:
        options: the config section.
        num_encoders: number of encoders N.
        seed: int, for random graphs.

    Returns:
        `InteractionGraph`.

    Raises:
        ValueError: there is no such graph over N encoders.
        DataError: the matrix file cannot be read.
    """
    if options.family == "random":
        graph = graphs.random_graph(num_encoders, options.num_edges, seed)
    elif options.family != "custom":
        graph = _NAMED_GRAPHS[options.family](num_encoders)
    elif options.path is not None:
        graph = graphs.from_matrix(graphs.read_matrix(options.path))
        if graph.num_encoders != num_encoders:
            raise ValueError(f"{options.path} is a graph of {graph.num_encoders} encoders, num_encoders is {num_encoders}")
    else:
        graph = graphs.InteractionGraph(num_encoders, options.edges, options.weights)
    return graph.per_target() if options.weighting == "per_target" else graph


def derived_seed(seed, name):
    """The seed of one source of randomness, from the run's `seed`: independent between names, stable across versions.

    Args:
        seed: int >= 0, the run's seed.
        name: one of `SEED_NAMES`.

    Returns:
        int in [0, 2^31).
    """
    sequence = np.random.SeedSequence([seed, SEED_NAMES.index(name)])
    return int(sequence.generate_state(1)[0] >> 1)


# ------------------------------------------------------------------------------------------------- reading and checking


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
    path = Path(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except FileNotFoundError:
        hint = suggestion(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such config file.{hint}") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name that no file can have
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from None
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{path}: longer than {MAX_CHARACTERS:,} characters, which no run config is")
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a JSON object {{...}} at the top, found {_kind(content)}")
    for override in overrides:
        apply_override(content, override)
    try:
        return parse_config(content, str(path)).resolved()
    except DataError as error:
        raise ConfigError(f"{path}: objective.graph.path: {error}") from None


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
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        lines = [f"{source}: {_explain(mistake, content)}" for mistake in error.errors()]
        raise ConfigError("\n".join(lines)) from None


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
    *parents, last = key.strip().split(".")
    target = content
    for depth, part in enumerate(parents):
        target = _descend(target, part, ".".join(parents[: depth + 1]), override)
    if isinstance(target, list):
        target[_index(target, last, key, override)] = value
    else:
        target[last] = value


def _descend(target, part, path, override):
    if isinstance(target, list):
        child = target[_index(target, part, path, override)]
    else:
        child = target.setdefault(part, {})
        if child is None:
            child = target[part] = {}
    if not isinstance(child, (dict, list)):
        raise ConfigError(f"--set {override}: '{path}' is {_kind(child)}, it has no keys below it")
    return child


def _index(items, part, path, override):
    if not part.isdecimal() or int(part) >= len(items):
        raise ConfigError(f"--set {override}: '{path}': expected an index from 0 to {len(items) - 1}, found '{part}'")
    return int(part)


def _explain(mistake, content):
    """One line for one pydantic error: the key's full path, what was expected, what came."""
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
        return f"{where}: expected {expected}, found {_kind(found)}.{suggestion(found, options)}"
    if kind in ("value_error", "inconsistent"):
        return f"{where}: {expected}"
    return f"{where}: expected {expected}, found {_kind(found)}"


def _tags(mistake):
    field = RunConfig.model_fields.get(mistake["loc"][0])
    members = getattr(field.annotation, "__args__", ()) if field else ()
    names = [
        option
        for member in members
        for option in getattr(member.model_fields.get(mistake["ctx"]["discriminator"].strip("'")).annotation, "__args__", ())
    ]
    return ", ".join(names)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def json_schema():
    """The JSON Schema (2020-12) of a run config, as a dict, for editors and other programs."""
    schema = RunConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "closer_tf run config"
    return schema


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
