"""The training step under TensorFlow."""

import keras
import tensorflow as tf

from closer_tf.nn.objectives import after_step


def train_step(model, data):
    """One step of gradient descent on the model's objective.

    Args:
        model: a compiled `CLoSeR` model.
        data: stimuli (B, ...), or a tuple (stimuli, labels).

    Returns:
        dict of the running means that `fit` logs: the loss and its parts.
    """
    loss = descend(model, data)
    after_step(model)
    return _logged(model, data, loss)


def test_step(model, data):
    """The objective on one batch, without a step; arguments and result as in `train_step`.

    Keras's own step takes the loss for one device's share of it.
    """
    stimuli, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    outputs = model(stimuli, training=False)
    return _logged(model, data, model.compute_loss(stimuli, labels, outputs, sample_weight, training=False))


def _logged(model, data, loss):
    stimuli, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=tf.shape(keras.tree.flatten(stimuli)[0])[0])
    return model.get_metrics_result()


def descend(model, data):
    """Update a compiled model's weights once; returns the loss before (scalar tensor). Arguments as in `train_step`."""
    stimuli, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    with tf.GradientTape() as tape:
        outputs = model(stimuli, training=True)
        loss = model.compute_loss(stimuli, labels, outputs, sample_weight, training=True)
        scaled_loss = model.optimizer.scale_loss(loss)
    weights = model.trainable_weights
    model.optimizer.apply_gradients(zip(tape.gradient(scaled_loss, weights), weights))
    return loss


def for_all_batch_sizes(function, model):
    """A model's function of batches without the traces that TensorFlow takes anew, and warns of, for every other batch size.

    Args:
        function: `tf.function` of batches, as Keras makes it for `predict`.
        model: the model; one that runs eagerly or on several devices keeps the function as it is.
    """
    if model.run_eagerly or model.distribute_strategy.num_replicas_in_sync > 1:
        return function
    traces = {}

    def call(batches):
        batches = keras.tree.map_structure(tf.convert_to_tensor, batches)
        spec = keras.tree.map_structure(lambda batch: tf.TensorSpec((None, *batch.shape[1:]), batch.dtype), batches)
        if str(spec) not in traces:
            traces[str(spec)] = function.get_concrete_function(spec)
        return traces[str(spec)](batches)

    return call
