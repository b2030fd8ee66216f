"""The simulated session: what it is made of, and how hard it is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from closer_tf.data.neuro.sessions import area_sizes
from closer_tf.data.samples import make_samples
from closer_tf.data.simulated import PAPER_SIZE, simulate_session


def test_shapes_names_and_flag():
    session = simulate_session(seed=3, units_per_area=(5, 4), frames=(30, 60), trials=(6, 4))
    assert session.simulated and "simulated" in session.name
    assert all("simulated" in name for name in [*session.stimuli, *session.unit_areas])
    assert [counts.shape for counts in session.stimuli.values()] == [(6, 30, 9), (4, 60, 9)]
    assert area_sizes(session.unit_areas) == {"simulated_1": 5, "simulated_2": 4}
    assert all(counts.dtype == np.uint8 for counts in session.stimuli.values())


def test_seed_decides_everything():
    size = {"units_per_area": (3, 3), "frames": (20, 40), "trials": (4, 4)}
    first, again, other = simulate_session(1, **size), simulate_session(1, **size), simulate_session(2, **size)
    for name in first.stimuli:
        np.testing.assert_array_equal(first.counts(name), again.counts(name))
        assert (first.counts(name) != other.counts(name)).any()


def test_rates_depend_on_the_frame_and_change_slowly():
    session = simulate_session(0, units_per_area=(40,), frames=(200, 200), trials=(200, 200), drift=0.0)
    rates = np.stack([counts.mean(axis=0) for counts in session.stimuli.values()])  # (movies, frames, units)
    steps = np.diff(rates, axis=1).std()
    assert steps < 0.3 * rates.std(axis=1).mean()  # neighbouring frames are alike, distant ones are not
    counts = next(iter(session.stimuli.values()))
    np.testing.assert_allclose(counts.var(axis=0).mean(), counts.mean(), rtol=0.02)  # Poisson around the frame's rate


def test_drift_is_shared_within_an_area_only():
    session = simulate_session(0, units_per_area=(40, 40), frames=(100, 100), trials=(40, 40), drift=1.0)
    counts = next(iter(session.stimuli.values())).astype(float)
    residuals = [(part - part.mean(axis=0)) for part in (counts[:, :, :20], counts[:, :, 20:40], counts[:, :, 40:])]
    sums = [part.sum(axis=-1).ravel() for part in residuals]
    assert np.corrcoef(sums[0], sums[1])[0, 1] > 0.5
    assert abs(np.corrcoef(sums[0], sums[2])[0, 1]) < 0.1


def test_paper_size():
    assert sum(PAPER_SIZE["units_per_area"]) == 668 and len(PAPER_SIZE["units_per_area"]) == 10
    assert (PAPER_SIZE["frames"], PAPER_SIZE["trials"]) == ((900, 3600), (20, 10))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_area_tells_the_movies_apart_in_part(seed):
    """The linear readout of raw counts, mean over areas: .70 to .85, with chance at two thirds."""
    session = simulate_session(seed)
    splits = make_samples(session)
    chance = np.bincount(splits.test.labels).max() / len(splits.test)
    assert 0.65 < chance < 0.68
    accuracies = [readout_accuracy(splits, session.unit_areas == area) for area in area_sizes(session.unit_areas)]
    assert 0.70 < np.mean(accuracies) < 0.85
    everything = readout_accuracy(splits, np.ones(session.num_units, bool))
    assert everything > np.mean(accuracies) + 0.05  # areas complement one another


def readout_accuracy(splits, units):
    """Test accuracy of the published readout on the current bin's counts: C by validation accuracy, at most 100 steps."""
    parts = [part.inputs[:, -1, units].astype(float) for part in (splits.train, splits.validation, splits.test)]
    mean, sd = parts[0].mean(axis=0), parts[0].std(axis=0, ddof=1)
    train, validation, test = ((part - mean) / np.where(sd > 0, sd, 1) for part in parts)
    fits = [
        LogisticRegression(C=C or np.inf, max_iter=100).fit(train, splits.train.labels)
        for C in (0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10)
    ]
    best = max(fits, key=lambda fit: fit.score(validation, splits.validation.labels))  # the first of equals
    return best.score(test, splits.test.labels)
