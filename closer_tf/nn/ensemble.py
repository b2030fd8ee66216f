"""The ensemble: N receptive fields and N encoders as one Keras functional model that supervises itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from closer_tf.common.backend import true_float32
from closer_tf.common.values import Shape, Tensor, check_settings, load
from closer_tf.nn.layers import Cells, ReceptiveField
from closer_tf.nn.objectives import CLoSeRLoss, SupervisedLoss, collapse_gauge, state_after_step
from closer_tf.nn.optimizers import Nadam

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from closer_tf.masks import ReceptiveFields

NO_WEIGHTS = "sample_weight: the loss of a batch is one number, its samples cannot be weighted"


@keras.saving.register_keras_serializable("closer_tf")
class CLoSeR(keras.Model):
    """A functional Keras model from stimuli to embeddings (B, N, D), trained by its encoders' cross-supervision.

    `build_ensemble` makes one. It is used like any Keras model: `compile`, `fit`, `evaluate`, `predict`, `save`. `fit(x)`
    takes stimuli alone; labels may be passed and are handed to the loss. The parts of the loss are logged beside it.
    """

    predict_function: Any  # Keras's

    def __call__(self, stimuli: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Embeddings (B, N, D) of stimuli (B, ...), or (B, bins, N, D) of windows of consecutive stimuli (B, bins, ...)."""
        return self._over_bins(super().__call__, stimuli, *args, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Tensor:
        """As `__call__`; JAX's training step comes in here."""
        return self._over_bins(super().call, inputs, training=training, mask=mask, **kwargs)

    def _over_bins(self, embed, stimuli, *args, **kwargs):
        if not hasattr(stimuli, "shape"):  # under a name or in a list, as Keras's functional models take them
            flat = keras.tree.flatten(stimuli)
            if len(flat) != 1:
                raise ValueError(f"expected one input, the stimuli, found {len(flat)}")
            (stimuli,) = flat
        if len(stimuli.shape) != len(self.inputs[0].shape) + 1:
            return embed(stimuli, *args, **kwargs)
        bins, rest = stimuli.shape[1], tuple(stimuli.shape[2:])
        outputs = embed(ops.reshape(stimuli, (-1, *rest)), *args, **kwargs)
        return keras.tree.map_structure(lambda x: ops.reshape(x, (-1, bins, *x.shape[1:])), outputs)

    def compile(
        self, optimizer: keras.optimizers.Optimizer | str | None = None, loss: keras.losses.Loss | None = None, **kwargs: Any
    ) -> None:
        """Configure the training.

        Args:
            optimizer: a Keras optimizer. Default: `Nadam()` as in TensorFlow 2.6.
            loss: an objective such as `CLoSeRLoss`, with `terms(outputs, labels)` and `term_names`; `closer_tf.Objective` says
                what else it may have. Default: `CLoSeRLoss()`.
            **kwargs: those of `keras.Model.compile`, without metrics and loss_weights.

        Raises:
            ValueError: the ensemble cannot be trained with these.
        """
        loss = loss or CLoSeRLoss()
        if not hasattr(loss, "terms"):
            raise TypeError(f"loss: expected an objective such as CLoSeRLoss, found {loss!r}")
        if kwargs.get("metrics") or kwargs.get("weighted_metrics"):
            raise ValueError("metrics: embeddings have no targets to compare with; log what you need from a callback")
        if kwargs.get("loss_weights") is not None:
            raise ValueError("loss_weights: there is but one loss; an objective's terms are weighed in the objective itself")
        super().compile(optimizer=optimizer or Nadam(), loss=loss, **kwargs)
        kinds = ("kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer")
        regularised = any(getattr(layer, kind, None) for layer in self._flatten_layers() for kind in kinds)
        names = (*loss.term_names, *(["regularisation"] if regularised else []), "embedding_sd", "effective_rank")
        # Set past Keras's attribute tracking, which would keep the trackers of an earlier `compile`.
        self.__dict__["_term_trackers"] = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss, its parts and the collapse gauge."""
        return [*super().metrics, *self.__dict__.get("_term_trackers", {}).values()]

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Configure the training as it was when the model was saved; compiled by XLA only where this backend can do that."""
        if not all(getattr(layer, "supports_jit", True) for layer in self.layers):
            config = {**config, "jit_compile": False}  # a file written under JAX says true
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit, assigned=())  # its signature
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`; what an ensemble cannot be trained with is refused before the first step.

        Raises:
            ValueError: samples are weighted, of another shape than the model's, or stand alone in their batch where that is
                known beforehand.
        """
        given = inspect.signature(super().fit).bind(*args, **kwargs).arguments
        alone = getattr(self.loss, "learns_from_one", False)
        _check_data(given, alone)
        _check_shape(given.get("x"), self.input_shape)
        if "epochs" in given:
            check_settings(epochs=given["epochs"])
        if isinstance(given.get("validation_data"), (tuple, list)):
            names = dict(zip(("x", "y", "sample_weight"), given["validation_data"]))
            _check_data({**names, "batch_size": given.get("validation_batch_size")}, alone, "validation_")
        return super().fit(*args, **kwargs)

    @functools.wraps(keras.Model.evaluate, assigned=())
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`; refuses what `fit` does."""
        given = inspect.signature(super().evaluate).bind(*args, **kwargs).arguments
        _check_data(given, getattr(self.loss, "learns_from_one", False))
        _check_shape(given.get("x"), self.input_shape)
        return super().evaluate(*args, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Tensor | dict[str, Tensor] = None,
        sample_weight: None = None,
        training: bool = True,
    ) -> Tensor:
        """The objective on the embeddings `y_pred` (B, N, D), plus regularisation; its parts and the collapse gauge are
        tracked."""
        del x, training
        if sample_weight is not None:
            raise ValueError(NO_WEIGHTS)
        samples = ops.shape(keras.tree.flatten(y_pred)[0])[0]  # on this device
        penalties = self._penalties()
        y_pred, y, regularisation = _of_whole_batch(y_pred, y, sum(penalties) if penalties else None)
        embeddings = y_pred["embeddings"] if isinstance(y_pred, dict) else y_pred
        _check_outputs(self.loss, y_pred)
        with true_float32():
            terms = {**self.loss.terms(y_pred, y), **collapse_gauge(embeddings)}
        if regularisation is not None:
            terms["regularisation"] = regularisation
        for name, tracker in self._term_trackers.items():
            if name in terms:  # Keras builds a model without the penalties on activities
                tracker.update_state(terms[name], sample_weight=samples)
        return terms["loss"] + terms.get("regularisation", 0.0)

    def _penalties(self):
        """As `losses`, the penalties on weights and activities, without those of encoders that the objective never moves."""
        still = {f"encoder_{i}" for i in getattr(self.loss, "at_rest", ())}
        still |= {name.replace("encoder", "local") for name in still}  # the same layers, as `LayerLocal` trains them
        if not still:
            return self.losses
        if keras.backend.backend() == "tensorflow":
            return [loss for layer in self.layers if layer.name not in still for loss in layer.losses]
        # elsewhere a step keeps the penalties on activities in `losses` alone: those on weights at rest are taken off again
        return [*self.losses, *(-loss for layer in self.layers if layer.name in still for loss in layer.losses)]

    def train_step(self, *args: Any) -> Any:
        """One step: embed the batch, let the encoders supervise each other, update. Called by `fit`."""
        if keras.backend.backend() != "tensorflow":
            logs, state = super().train_step(*args)
            return logs, state_after_step(self, state)
        return load("closer_tf.nn.tensorflow:train_step")(self, *args)

    def test_step(self, *args: Any) -> Any:
        """The objective on one batch. Called by `evaluate`."""
        if keras.backend.backend() != "tensorflow":
            return super().test_step(*args)
        return load("closer_tf.nn.tensorflow:test_step")(self, *args)

    def make_predict_function(self, force: bool = False) -> None:
        """Make what `predict` calls for a batch; under TensorFlow, it is traced once for batches of all sizes."""
        new = force or self.predict_function is None
        super().make_predict_function(force)
        if new and keras.backend.backend() == "tensorflow":
            self.predict_function = load("closer_tf.nn.tensorflow:for_all_batch_sizes")(self.predict_function, self)

    @property
    def encoders(self) -> list[keras.Model]:
        """The N encoders, each a Keras model from its receptive field to an embedding (B, D), or (B, bins, D) over windows."""
        return numbered(self, "encoder_")


def numbered(model: keras.Model, prefix: str) -> list[keras.layers.Layer]:
    """The layers of a model that are called `prefix` and a number, in order of the numbers.

    Keras sorts layers by depth, in which encoders of different kinds differ.
    """
    found = {layer.name.removeprefix(prefix): layer for layer in model.layers if layer.name.startswith(prefix)}
    return [found[number] for number in sorted(filter(str.isdecimal, found), key=int)]


def _check_data(given, alone, prefix=""):
    """Refuse what an objective over batches cannot use; Keras itself drops the weights of samples without labels.

    Args:
        given: dict of `fit`'s arguments.
        alone: whether the objective learns from a sample that is alone in its batch.
        prefix: what to put before their names in messages.
    """
    if given.get("sample_weight") is not None or given.get("class_weight") is not None:
        raise ValueError(NO_WEIGHTS)
    if alone:
        return
    if given.get("batch_size") is not None:
        check_settings(batch_size=given["batch_size"])
    says = "the others of a batch are each sample's contrast: expected at least 2, found 1"
    stimuli = given.get("x")
    for batch in keras.tree.flatten(getattr(stimuli, "element_spec", ())):
        if len(batch.shape or ()) and batch.shape[0] == 1:  # a tf.data.Dataset of batches of one
            raise ValueError(f"{prefix}x: batches hold one sample; {says}")
    if hasattr(stimuli, "shape") and len(stimuli.shape) and stimuli.shape[0] == 1:
        raise ValueError(f"{prefix}x: holds one sample; {says}")


def _check_shape(stimuli, expected):
    """Refuse arrays of stimuli, or of windows of them, of another shape: a step that was compiled before would say so in other
    words."""
    found, wanted = getattr(stimuli, "shape", None), tuple(expected[1:])
    if found is not None and not any(_alike(tuple(found[axes:]), wanted) for axes in (1, 2)):
        shape = ", ".join(map(str, wanted))
        raise ValueError(f"x: expected stimuli of shape (samples, {shape}), found {tuple(found)}")


def _alike(found, wanted):
    """Whether Keras takes the one shape for the other: a last axis of 1 may lack or be too many, None is of any length."""
    if len(found) != len(wanted):
        longer, shorter = sorted((found, wanted), key=len, reverse=True)
        if longer[-1:] != (1,) or len(longer) != len(shorter) + 1:
            return False
        found, wanted = longer[:-1], shorter
    return all(None in pair or pair[0] == pair[1] for pair in zip(found, wanted))


def _check_outputs(objective, outputs):
    """Refuse a model without the outputs that its objective needs."""
    needed = getattr(objective, "needs_outputs", ())
    missing = [name for name in needed if not isinstance(outputs, dict) or name not in outputs]
    if missing:
        raise ValueError(
            f"loss: {type(objective).__name__} needs the outputs {', '.join(missing)}, which this model does not have; "
            f"compile and fit loss.training_model(ensemble, num_labels), which shares the ensemble's weights"
        )


def _of_whole_batch(outputs, labels, regularisation):
    """Outputs and labels of all samples of the batch, and the regularisation, where several devices share a batch."""
    if keras.backend.backend() != "tensorflow":
        return outputs, labels, regularisation
    gathered, once = load("closer_tf.nn.tensorflow:gathered"), load("closer_tf.nn.tensorflow:once")
    labels = None if labels is None else gathered(labels)
    return gathered(outputs), labels, None if regularisation is None else once(regularisation)


def build_ensemble(
    input_shape: Sequence[int],
    receptive_fields: ReceptiveFields,
    make_encoder: Callable[[int, tuple[int, ...]], keras.Model],
    input_scale: float = 1.0,
    normalisation: tuple[ArrayLike, ArrayLike] | None = None,
    augmentation: keras.layers.Layer | None = None,
    name: str = "closer",
) -> CLoSeR:
    """Wrap N receptive fields and N encoders in one functional model.

    Args:
        input_shape: shape of one stimulus: (height, width, channels), (units,), or (bins, units) where the encoders run over
            windows of consecutive bins.
        receptive_fields: `ReceptiveFields` of N encoders over that input.
        make_encoder: function (i, shape) -> Keras model from (batch, *shape) to (batch, D), where shape is (cells, values), or
            (units, bins) of windows. Encoders may differ in everything but D. One that gives the embeddings of several bins,
            (batch, bins, D), counts with those of the last; `with_previous` trains on the last two.
        input_scale: what stimuli are multiplied by before anything else.
        normalisation: (mean, sd) arrays of the input's last axis, to z-score the scaled stimuli with. Default: none.
        augmentation: layer applied to the scaled stimuli in training, before masking. Default: none.
        name: the model's name.

    Returns:
        `CLoSeR` model from (batch, *input_shape) to embeddings (batch, N, D).

    Raises:
        ValueError: a setting is out of its bounds, the receptive fields do not fit the input, or the encoders'
            embeddings differ in width.
    """
    input_shape = tuple(input_shape)
    check_settings(input_scale=input_scale, num_encoders=receptive_fields.num_encoders)
    _check_grid(input_shape, receptive_fields)
    inputs = keras.Input(input_shape, name="stimulus")
    x = keras.layers.Rescaling(input_scale, name="input_scale")(inputs)
    if normalisation is not None:
        mean, sd = (np.asarray(values, dtype=np.float64) for values in normalisation)
        variance = np.where(sd == 0, 1.0, sd) ** 2  # what never varied is only centred
        x = keras.layers.Normalization(mean=mean.tolist(), variance=variance.tolist(), name="normalisation")(x)
    if augmentation is not None:
        x = augmentation(x)
    x = Cells(receptive_fields.patch_size, name="cells")(x)
    embeddings = []
    for i, cells in enumerate(receptive_fields.indices):
        seen = ReceptiveField(cells, name=f"receptive_field_{i}")(x)
        encoder = make_encoder(i, tuple(seen.shape[1:]))
        encoder.name = f"encoder_{i}"
        embeddings.append(_embedding(encoder, seen, i, over_bins=len(input_shape) == 2))
    widths = {embedding.shape[-1] for embedding in embeddings}
    if len(widths) > 1:
        raise ValueError(f"all encoders need the same embedding dimension, found {sorted(widths)}")
    outputs = Stack(name="embeddings")(embeddings)
    return CLoSeR(inputs, outputs, name=name)


def _embedding(encoder, seen, i, over_bins):
    """The symbolic embedding (batch, D) of what encoder i sees: of the last bin, where it gives embeddings (batch, bins, D)."""
    embedding = encoder(seen)
    if not hasattr(embedding, "shape") or len(embedding.shape) not in ((2, 3) if over_bins else (2,)):
        found = [tuple(each.shape) for each in keras.tree.flatten(embedding)]
        raise ValueError(
            f"encoder {i}: expected a Keras model with one output of shape (batch, D), found "
            f"{'an output' if len(found) == 1 else f'{len(found)} outputs'} of shape {', '.join(map(str, found))}"
        )
    if len(embedding.shape) == 2:
        return embedding
    last = keras.layers.Cropping1D((embedding.shape[1] - 1, 0), name=f"current_bin_{i}")(embedding)
    return keras.layers.Flatten(name=f"embedding_{i}")(last)


def with_previous(ensemble: CLoSeR) -> CLoSeR:
    """An ensemble of encoders over windows as the temporal objectives train it: with the embeddings of the last two bins, both
    from one pass.

    Args:
        ensemble: `CLoSeR` model whose encoders give embeddings of several bins; its weights are shared, not copied.

    Returns:
        `CLoSeR` model from windows to embeddings (B, 2, N, D), in time order.

    Raises:
        ValueError: its encoders give embeddings of one bin alone.
    """
    bins = numbered(ensemble, "current_bin_")
    if len(bins) < len(ensemble.encoders) or any(layer.input.shape[1] < 2 for layer in bins):
        raise ValueError("expected encoders that embed two bins at least, of windows of two bins at least")
    outputs = Stack(name="embeddings_of_bins")([layer.input[:, -2:] for layer in bins])
    return CLoSeR(ensemble.input, outputs, name="with_previous")


def receptive_fields_of(ensemble: CLoSeR) -> ReceptiveFields:
    """What the encoders of an ensemble see, as `build_ensemble` was given it, but for the names of brain areas."""
    from closer_tf.masks import ReceptiveFields

    side, shape = ensemble.get_layer("cells").patch_size, ensemble.input_shape[1:]
    grid = (shape[0] // side, shape[1] // side) if len(shape) == 3 else (1, shape[-1])
    indices = [np.array(layer.cells) for layer in numbered(ensemble, "receptive_field_")]
    return ReceptiveFields(tuple(indices), grid, side)


def with_heads(ensemble: CLoSeR, num_labels: int, seed: int = 0) -> CLoSeR:
    """The ensemble with a linear head per encoder, for the supervised condition (paper: equation 14).

    Args:
        ensemble: `CLoSeR` model; its weights are shared, not copied.
        num_labels: number of labels.
        seed: int, seeds the heads.

    Returns:
        `CLoSeR` model from stimuli to a dict: `embeddings` (B, N, D) and `logits` (B, N, num_labels).
    """
    return SupervisedLoss().training_model(ensemble, num_labels, seed)


def embed(model: keras.Model, stimuli: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """The embeddings of stimuli, computed batch by batch.

    Args:
        model: a `CLoSeR` model, or any Keras model.
        stimuli: array (n, ...).
        batch_size: samples at once; changes nothing but time and memory.

    Returns:
        Float array (n, N, D).
    """
    embeddings = np.empty((len(stimuli), *model.output_shape[1:]), dtype=model.compute_dtype)
    for first in range(0, len(stimuli), 16 * batch_size):  # Keras holds a prediction twice: ask for a part at a time
        part = stimuli[first : first + 16 * batch_size]
        blocks, steps = _blocks(part, batch_size)
        embeddings[first : first + len(part)] = model.predict(blocks, steps=steps, verbose=0)
    return embeddings


def _blocks(stimuli, batch_size):
    """(stimuli batch by batch, number of batches) in the form that the backend takes in fastest."""
    starts = range(0, len(stimuli), batch_size)
    if keras.backend.backend() != "tensorflow":  # a stream has no fixed shape to compile anew for
        return ((stimuli[start : start + batch_size],) for start in starts), len(starts)
    from closer_tf.data.tensorflow_stream import blocks

    return blocks(stimuli, batch_size), len(starts)


@keras.saving.register_keras_serializable("closer_tf")
class Stack(keras.layers.Layer):
    """N embeddings (batch, ..., D) as one tensor (batch, ..., N, D)."""

    def call(self, embeddings: Sequence[Tensor]) -> Tensor:
        """The stacked embeddings."""
        return ops.stack(embeddings, axis=len(embeddings[0].shape) - 1)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """(batch, ..., N, D)."""
        return (*input_shape[0][:-1], len(input_shape), input_shape[0][-1])


def _check_grid(input_shape, receptive_fields):
    side, grid = receptive_fields.patch_size, tuple(receptive_fields.grid)
    if len(input_shape) > 2 and any(n % side for n in input_shape[:2]):
        raise ValueError(f"patches of {side} x {side} pixels do not divide an input of shape {input_shape}")
    expected = tuple(n // side for n in input_shape[:2]) if len(input_shape) > 2 else (1, input_shape[-1])
    if grid != expected:
        raise ValueError(f"receptive fields over a {grid} grid of cells do not fit an input of shape {input_shape}")
