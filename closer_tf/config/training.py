"""Config sections: augmentation, optimizer, length and batches, computing, seeds."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from closer_tf.common.values import BOUNDS
from closer_tf.config.base import Section

MAX_SEED = 2**31 - 1  # what every random number generator in use takes


class Augmentation(Section):
    """Random changes of each training image, before masking: all encoders see the same changed image. Off by default."""

    horizontal_flip: bool = False
    """Mirror half of the images left to right."""
    rotation: float = Field(0.0, **BOUNDS["rotation"])
    """Largest rotation either way, in full turns (0.02 is 7.2 degrees). The paper: 0.02."""
    zoom: float = Field(0.0, **BOUNDS["zoom"])
    """Largest relative zoom out or in (0.2 shows 80% to 120% of the image's side). The paper: 0.2."""


class Nadam(Section):
    """Nadam as in TensorFlow 2.6."""

    name: Literal["nadam"] = "nadam"
    """Chooses this optimizer."""
    learning_rate: float = Field(1e-3, **BOUNDS["learning_rate"])
    """Step size."""
    beta_1: float = Field(0.9, **BOUNDS["beta_1"])
    """Decay of the gradient's mean, per step."""
    beta_2: float = Field(0.999, **BOUNDS["beta_2"])
    """Decay of the squared gradient's mean, per step."""
    epsilon: float = Field(1e-7, **BOUNDS["epsilon"])
    """Added to the root of the squared gradient's mean."""
    schedule_decay: float = Field(0.004, **BOUNDS["schedule_decay"])
    """Speed of the momentum warm-up: mu_t = beta_1 (1 - 0.5 * 0.96^(schedule_decay t)). TensorFlow 2.6: 0.004; Keras 3: 1."""


class Training(Section):
    """The training loop."""

    epochs: int = Field(100, **BOUNDS["epochs"])
    """Passes over the training set. The paper: 1000 (MLP), 2000 (ViT), 300 (neurons). The last epoch is what is read out,
    unless `training.keep` is 'best'."""
    batch_size: int = Field(128, **BOUNDS["batch_size"])
    """Samples per step [B]; the other samples of the batch are each sample's contrast. The last, smaller batch is kept."""
    validation_fraction: float = Field(0.1, **BOUNDS["validation_fraction"])
    """Fraction of the training set kept aside to log the loss on; it selects nothing, unless `training.keep` is
    'best'."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights are saved in ensemble.keras and read out. 'last': the last epoch's, as in the paper. 'best': those
    of the epoch with the lowest validation loss, for which no labels are needed unless the condition learns from them. What is
    trained is the same, epoch by epoch; it needs validation samples."""
    checkpoint_every: int = Field(1, ge=1)
    """Epochs between checkpoints. The last epoch always has one."""
    checkpoint_minutes: float | None = Field(None, gt=0)
    """Also write a checkpoint when the last one is older than this, in the middle of an epoch too. Default null: don't."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the latest checkpoints stay on disk. The older ones serve where the latest is damaged."""


class Compute(Section):
    """How it is computed: what changes speed and memory, and results by rounding only."""

    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """'float32': true float32, also on GPUs that would by themselves take products in TF32. 'tensorfloat32': the encoders'
    products in TF32 (3 digits, as wide a range), on NVIDIA GPUs under JAX; elsewhere as 'float32'. 'bfloat16': the encoders
    compute in bfloat16 (2 to 3 digits). Weights, loss, optimizer and the augmentation's coordinates are float32 in any case."""
    xla: bool = False
    """Compile TensorFlow's training step with XLA; not together with augmentation, which it cannot compile. JAX always does."""
    distribution: Literal["none", "mirrored"] = "none"
    """'mirrored': share every batch among all GPUs of this machine, or among TensorFlow's logical CPU devices if there is none;
    every sample is still told from the whole batch. TensorFlow alone; the devices must divide `training.batch_size`. A run may
    go on with or without it. See docs/distribution.md."""
    steps_per_execution: int | None = Field(None, ge=1, le=1000)
    """Training steps at one call from Python, on one device. Signals, checkpoints by the clock and callbacks wait for them;
    results stay the same. Null: under JAX all of an epoch, its validation in another call; under TensorFlow 8 for recordings,
    whose steps take milliseconds, otherwise 1. Several trainings in one take 1 under TensorFlow."""
    loss_memory_mb: float = Field(1024.0, **BOUNDS["max_memory_mb"])
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


SEED_NAMES = tuple(Seeds.model_fields)


def derived_seed(seed: int, name: str) -> int:
    """The seed of one source of randomness, from the run's `seed`: independent between names, stable across versions.

    Args:
        seed: int >= 0, the run's seed.
        name: one of `SEED_NAMES`.

    Returns:
        int in [0, 2^31).
    """
    sequence = np.random.SeedSequence([seed, SEED_NAMES.index(name)])
    return int(sequence.generate_state(1)[0] >> 1)


def drop_derived_seeds(content: dict[str, Any]) -> None:
    """Before a config gets another `seed`: where all its `seeds` are written out, as in a run's config, drop those that follow
    from the one that it has. Others were chosen and stay, and so does one that is given alone.

    Args:
        content: a config as plain data, which is changed.
    """
    seed, seeds = content.get("seed", 0), content.get("seeds")
    if isinstance(seeds, dict) and {*SEED_NAMES} <= {*seeds} and type(seed) is int and 0 <= seed <= MAX_SEED:
        followed = {name for name in seeds if name in SEED_NAMES and seeds[name] == derived_seed(seed, name)}
        content["seeds"] = {name: value for name, value in seeds.items() if name not in followed}
