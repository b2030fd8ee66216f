"""The readout of hidden layers: how well labels can be read out of what each layer of the encoders says."""

from closer_tf.common.progress import console
from closer_tf.readout.features import embeddings_of, features_of
from closer_tf.readout.scores import probe


def layers_of(ensemble, config, data, name):
    """The readouts of the hidden layers of an ensemble's encoders.

    Args:
        ensemble: `CLoSeR` model.
        config: resolved `RunConfig`.
        data: `Splits` of single bins or images.
        name: what this is a readout of.

    Returns:
        dict `layer_1_single`, `layer_1_ensemble`, ... -> `Score`; empty without hidden layers.
    """
    from closer_tf.nn import layer_local

    found = {}
    for depth, activity in enumerate(layer_local.layers_of(ensemble)[:-1], start=1):
        sets = features_of(embeddings_of(type(ensemble)(ensemble.input, activity), config, data))
        accuracy, _ = probe(sets, config, data, f"{name}, layer {depth}")
        found |= {f"layer_{depth}_{readout}": accuracy[readout] for readout in ("single", "ensemble")}
    if not found:
        console().print(f"readout: {name}: no hidden layers")
    return found
