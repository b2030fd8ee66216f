"""What an objective is: a Keras loss over whole batches, with what it owns beside the encoders.

An objective sees the outputs of the model that is fitted: embeddings (B, N, D), of windows (B, bins, N, D), or a dict with
`embeddings` and others where its `training_model` gives more. What it owns are layers of that model: trained ones, such as
heads, and states, such as moving averages, in weights that are not trained. Checkpoints, a resumed run and JAX's compiled steps
hold them like any other weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from closer_tf.common.types import Shape, Tensor

if TYPE_CHECKING:
    from closer_tf.nn.ensemble import CLoSeR


class Objective(keras.losses.Loss):
    """What the encoders of a `CLoSeR` model minimise.

    One of your own has `terms`, `term_names` and, if it takes arguments, `get_config`; the rest where it needs more. It is
    registered with Keras, so that saved models hold it: `@keras.saving.register_keras_serializable("mine")`.
    """

    term_names: tuple[str, ...] = ()
    """The names of what `terms` gives beside `loss`; they are logged."""
    needs_previous = False
    """Whether it needs windows of consecutive bins."""
    needs_outputs: tuple[str, ...] = ()
    """The outputs that it needs beside `embeddings`, which its `training_model` gives."""
    learns_from_one = False
    """Whether a sample alone in its batch has a loss to learn from."""

    def __init__(self, name: str = "objective", **kwargs: Any) -> None:
        kwargs.pop("reduction", None)  # the loss of a batch is one number already
        super().__init__(name=name, reduction=None, **kwargs)

    def terms(self, outputs: Any, labels: Tensor = None) -> dict[str, Tensor]:
        """The loss of a batch and its parts.

        Args:
            outputs: embeddings (B, N, D), of windows (B, bins, N, D) in time order, or the dict that `training_model` gives.
            labels: tensor (B,); None where there are none.

        Returns:
            dict of scalars: `loss`, which carries the gradient, and one for each of `term_names`.
        """
        raise NotImplementedError(f"{type(self).__name__}: an objective says what it minimises in `terms(outputs, labels)`")

    def training_model(self, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
        """The model to fit: the ensemble itself, or one around it with what the objective owns.

        Args:
            ensemble: `CLoSeR` model; its weights are shared, not copied, and it is what is read out and exported.
            num_labels: number of labels in the data.
            seed: int, for the weights that the objective owns.

        Returns:
            `CLoSeR` model from stimuli to embeddings, or to a dict of outputs with `embeddings` among them.
        """
        del num_labels, seed
        return ensemble

    def at_width(self, width: int, embedding_dim: int) -> Objective:
        """The objective for a layer of another width than the embeddings': itself, unless it has a scale that goes with it."""
        del width, embedding_dim
        return self

    def after_step(self, model: CLoSeR) -> None:
        """Bring the objective's states up to date, by `assign` to weights of the model; called after each training step.

        Args:
            model: what `training_model` returned, with the weights after the step.
        """
        del model

    def call(self, y_true: Tensor, y_pred: Any) -> Tensor:
        """The loss of outputs `y_pred`; `y_true` are the labels (B,), which most objectives ignore."""
        return self.terms(y_pred, y_true)["loss"]

    def __call__(self, y_true: Tensor, y_pred: Any, sample_weight: None = None) -> Tensor:
        """As `call`; a batch has one loss, so that there is nothing to weight or reduce."""
        return self.call(y_true, y_pred if isinstance(y_pred, dict) else ops.convert_to_tensor(y_pred))

    def get_config(self) -> dict[str, Any]:
        """Arguments to rebuild the objective from, as plain data."""
        return {"name": self.name}


def training_model(objective: keras.losses.Loss, ensemble: CLoSeR, num_labels: int = 0, seed: int = 0) -> CLoSeR:
    """As `Objective.training_model`, also of a Keras loss that has `terms` and `term_names` alone."""
    make = getattr(objective, "training_model", None)
    return ensemble if make is None else make(ensemble, num_labels, seed)


def after_step(model: CLoSeR) -> None:
    """Let the objective of a compiled model bring its states up to date, if it has any."""
    update = getattr(model.loss, "after_step", None)
    if update is not None:
        update(model)


def state_after_step(model: CLoSeR, state: tuple) -> tuple:
    """As `after_step`, of values instead of variables, as JAX's steps have them.

    Args:
        model: compiled `CLoSeR` model.
        state: values of its trainable variables, of the others, of the optimizer's variables, and further ones, which stay.

    Returns:
        Tuple like `state`.
    """
    groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
    mapping = [pair for variables, values in zip(groups, state) for pair in zip(variables, values)]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        after_step(model)
    return (*([scope.get_current_value(variable) for variable in variables] for variables in groups), *state[len(groups) :])


@keras.saving.register_keras_serializable("closer_tf")
class StepNumber(keras.layers.Layer):
    """How many training steps were done before this one, for an objective that changes with them: (B, ...) -> (B,), float32.

    The objective calls `advance` in its `after_step`.
    """

    def build(self, input_shape: Shape) -> None:
        """Make the counter."""
        del input_shape
        self.steps = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False, name="steps")

    def call(self, x: Tensor) -> Tensor:
        """The number, once for each sample."""
        return ops.broadcast_to(ops.cast(self.steps, "float32"), (ops.shape(x)[0],))

    def advance(self) -> None:
        """One more step is done."""
        self.steps.assign(self.steps + 1)

    def compute_output_spec(self, x: Tensor) -> keras.KerasTensor:
        """One float32 number per sample, whatever the layer computes in."""
        return keras.KerasTensor((x.shape[0],), dtype="float32")
