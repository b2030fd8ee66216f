"""What is read out of each condition: the embeddings of trained or untrained encoders, or the input itself."""

import numpy as np

from closer_tf.config.conditions import CONDITIONS
from closer_tf.errors import DataError
from closer_tf.readout.principal_components import principal_components
from closer_tf.readout.protocol import arranged


def embeddings(condition, config, data, fields, trained):
    """The embeddings of a condition, arranged for the probe.

    Args:
        condition: what is read out.
        config: resolved `RunConfig`.
        data: `Splits` of single bins or images.
        fields: `ReceptiveFields`.
        trained: `Trained`, whose ensemble is that of every condition but the untrained.

    Returns:
        dict `train`, `validation`, `test` of arrays (n, N, D); None where the input itself is read out.

    Raises:
        DataError: an embedding is not finite.
    """
    if not CONDITIONS[condition].embeds:
        return None
    return embeddings_of(ensemble_of(condition, config, data, fields, trained), config, data)


def ensemble_of(condition, config, data, fields, trained):
    """The ensemble that a condition reads out, a `CLoSeR` model; arguments as for `embeddings`."""
    from closer_tf.training.experiment import make_ensemble

    if CONDITIONS[condition].trained:
        return trained.ensemble
    return trained.untrained or make_ensemble(config, fields, data)


def embeddings_of(model, config, data):
    """An ensemble's embeddings (n, N, D), arranged for the probe; as `embeddings`."""
    from closer_tf.nn.ensemble import embed

    stimuli = arranged(config, data, lambda split: split.inputs)
    embedded = {key: embed(model, values) for key, values in stimuli.items()}
    if not all(np.isfinite(values).all() for values in embedded.values()):
        raise DataError(
            f"{data.name}: the embeddings of some stimuli are not finite: their values, up to "
            f"{np.abs(data.train.inputs).max():.3g}, are too large for float32 after scaling; set "
            f"dataset.input_scale, or rescale the data"
        )
    return embedded


def features(condition, config, data, fields, embedded):
    """The features of a condition for the probe.

    Args:
        condition, config, data, fields: as for `embeddings`.
        embedded: what `embeddings` returned.

    Returns:
        dict 'encoder_0', ..., 'ensemble' (their concatenation) -> dict `train`, `validation`, `test` of arrays (n, d).
    """
    if CONDITIONS[condition].reads == "input":
        return {"ensemble": arranged(config, data, lambda split: data.now(split).reshape(len(split), -1))}
    if CONDITIONS[condition].reads in ("masked input", "principal components"):
        sets = {
            f"encoder_{i}": arranged(config, data, lambda split, i=i: fields.apply(data.now(split), i))
            for i in range(fields.num_encoders)
        }
        if CONDITIONS[condition].reads == "principal components":
            dimensions, z_scored = config.each_encoder()[0].embedding_dim, getattr(config.dataset, "standardise", False)
            sets = {name: principal_components(values, dimensions, z_scored) for name, values in sets.items()}
        keys = ("train", "validation", "test")
        sets["ensemble"] = {key: np.concatenate([one[key] for one in sets.values()], axis=1) for key in keys}
        return sets
    return features_of(embedded)


def features_of(embedded):
    """The features of arranged embeddings (n, N, D), as from `features`."""
    count = embedded["test"].shape[1]
    sets = {f"encoder_{i}": {key: values[:, i] for key, values in embedded.items()} for i in range(count)}
    sets["ensemble"] = {key: values.reshape(len(values), -1) for key, values in embedded.items()}
    return sets
