"""A simulated recording session, for a first try without a download. No animal was recorded.

Two movies are two smooth trajectories through one latent space. Every unit fires Poisson spikes around a preferred point
of that space, at a rate that its area's own excitability scales; excitability drifts from bin to bin, differently in each
area and trial. So what areas have in common, and what is the same in the next bin, is where the movie is; what is private
to an area or a bin is noise. A linear readout of one area's counts in one bin tells the movies apart in part only: at the
default size it is right in three of four bins, where always naming the longer movie is right in two of three.
"""

import numpy as np

from closer_tf.data.neuro.sessions import Session

STIMULI = ("simulated_movie_one", "simulated_movie_three")
PAPER_SIZE = {"units_per_area": (137, 95, 78, 71, 55, 55, 49, 46, 44, 38), "frames": (900, 3600), "trials": (20, 10)}
"""Arguments of `simulate_session` for a session as large as that of mouse 751348571."""


def simulate_session(
    seed=0,
    units_per_area=(24, 22, 20, 18, 16, 14),
    frames=(120, 480),
    trials=(20, 10),
    dimensions=4,
    separation=2.5,
    smoothness=8.0,
    tuning_width=1.0,
    peak_rate=2.0,
    drift=0.5,
    bin_width=0.0333,
):
    """Simulate a session of two movies.

    Args:
        seed: int >= 0.
        units_per_area: number of units in each area, one int per area.
        frames: bins per trial, of the first and of the second movie.
        trials: number of trials, of the first and of the second movie.
        dimensions: dimensions of the latent space.
        separation: distance between the centres of the two trajectories, in their standard deviations.
        smoothness: standard deviation in bins of the Gaussian that smooths trajectories and drifts.
        tuning_width: width of the units' tuning, in standard deviations of the trajectories.
        peak_rate: largest mean spike count of a unit per bin; the units' own peaks lie between half of it and all of it.
        drift: standard deviation of the logarithm of an area's excitability.
        bin_width: seconds per bin.

    Returns:
        `Session` with `simulated` set; areas are called simulated_1, simulated_2, ...
    """
    rng = np.random.default_rng(seed)
    apart = rng.standard_normal(dimensions)
    apart *= separation / np.linalg.norm(apart)
    trajectories = [_smooth(rng.standard_normal((n, dimensions)), smoothness) for n in frames]
    trajectories[0] -= apart / 2
    trajectories[1] += apart / 2
    counts = [[] for _ in frames]
    for size in units_per_area:
        preferred = rng.standard_normal((size, dimensions))
        peak = peak_rate * rng.uniform(0.5, 1.0, size)
        for k, trajectory in enumerate(trajectories):
            distance = ((trajectory[:, None] - preferred) ** 2).sum(axis=-1)
            rate = peak * np.exp(-distance / (2 * tuning_width**2))
            excitability = np.exp(drift * _smooth(rng.standard_normal((frames[k], trials[k])), smoothness))
            counts[k].append(rng.poisson(excitability.T[:, :, None] * rate))
    stimuli = {name: np.concatenate(parts, axis=2) for name, parts in zip(STIMULI, counts, strict=True)}
    areas = [f"simulated_{k + 1}" for k in range(len(units_per_area))]
    return Session(
        name=f"simulated_seed_{seed}",
        unit_ids=np.arange(sum(units_per_area)),
        unit_areas=np.repeat(areas, units_per_area),
        bin_width=bin_width,
        stimuli={name: c.astype(np.min_scalar_type(int(c.max()))) for name, c in stimuli.items()},
        simulated=True,
    )


def _smooth(noise, width):
    """Noise (time, channels) smoothed by a Gaussian along time, scaled to mean 0 and standard deviation 1."""
    reach = int(np.ceil(4 * width))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * width**2))
    padded = np.pad(noise, ((reach, reach), (0, 0)), mode="wrap")
    smooth = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return (smooth - smooth.mean(axis=0)) / smooth.std(axis=0)
