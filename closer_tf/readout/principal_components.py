"""Principal components of what each encoder sees: the baseline that a learned representation of D dimensions has to beat."""


def principal_components(features, dimensions, z_scored=False):
    """The first principal components of features, fitted on the training samples.

    Args:
        features: dict `train`, `validation`, `test` of float arrays (n, d).
        dimensions: how many; where there are fewer features, or samples, as many as there are.
        z_scored: of z-scored features, as `dataset.standardise` gives them to the encoders.

    Returns:
        dict of float64 arrays (n, at most `dimensions`) with the same keys.
    """
    from sklearn.decomposition import PCA

    from closer_tf.readout.probes import standardise

    if z_scored:
        features = standardise(features)
    model = PCA(min(dimensions, *features["train"].shape), svd_solver="covariance_eigh")
    model.fit(features["train"].astype("float64"))
    return {key: model.transform(values) for key, values in features.items()}
