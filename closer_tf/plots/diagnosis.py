"""What receptive fields share, on one page."""

import numpy as np
from matplotlib.figure import Figure

from closer_tf.plots.shared import in_short, name_ticks
from closer_tf.plots.style import in_style

PANELS = {
    "averages": "trial averages:\ncanonical correlations",
    "dissimilarities": "dissimilarities of conditions:\nrank correlations, diagonal: with itself",
    "residuals": "single trials less averages:\ncanonical correlations",
    "residuals_without_drift": "the same without slow drift",
}


@in_style
def plot_diagnosis(found, names, title="", says=()):
    """What receptive fields share: matrices over pairs, and the share of slow drift in each.

    Args:
        found: dict, as from `closer_tf.analysis.shared_signal.shared_signal`.
        names: str per receptive field.
        title: which data.
        says: sentences to write below.
    """
    names = in_short(names)
    turned = 90 if max(map(len, names), default=0) > 6 and len(names) > 5 else 30
    shown = [key for key in PANELS if found[key] is not None]
    count = len(shown) + (found["drift"] is not None)
    figure = Figure(figsize=(max(7, 0.6 + 3.0 * count), 3.7 + 0.3 * len(says)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, max(count, 1), squeeze=False)[0]
    for axis, key in zip(axes, shown):
        matrix = np.array([[np.nan if value is None else value for value in row] for row in found[key]["matrix"]])
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        name_ticks(axis, names, every=1 + len(names) // 15, turned=turned)
        axis.set_yticks(range(len(names)), names) if axis is axes[0] and len(names) <= 15 else axis.set_yticks([])
        chance = f", chance below {found[key]['chance']:.2f}" if "chance" in found[key] else ""
        axis.set_title(f"{PANELS[key]}\nmean {found[key]['mean']:.2f}{chance}", fontsize=9)
    if shown:
        figure.colorbar(image, ax=axes[: len(shown)].tolist(), fraction=0.03, label="correlation")
    if found["drift"] is not None:
        axes[-1].bar(range(len(names)), found["drift"], color="0.4")
        name_ticks(axes[-1], names, every=1 + len(names) // 15, turned=turned)
        axes[-1].set_ylim(0, max(0.1, *found["drift"]) * 1.1)
        axes[-1].set_title("slow drift:\nshare of the residuals' variance", fontsize=9)
    if not count:
        axes[0].set_axis_off()
    if says:
        figure.supxlabel("\n".join(says), fontsize=8, x=0.01, ha="left", wrap=True)
    return figure
