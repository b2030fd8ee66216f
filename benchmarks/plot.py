"""A picture of what was measured: the loss over the number of encoders, and training steps beside their arithmetic."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from closer_tf.plots.style import in_style

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of Okabe and Ito, told apart by colour-blind people too."""
MARKERS = "osD^vP*"


@in_style
def plot(results):
    """matplotlib Figure of a result file's content."""
    parts = [draw for key, draw in (("loss", _loss), ("step", _steps)) if key in results]
    figure = Figure(figsize=(8 * max(1, len(parts)), 4.5), layout="constrained")
    for axes, draw in zip(figure.subplots(1, max(1, len(parts)), squeeze=False)[0], parts):
        draw(axes, results)
    about = results["machine"]
    library = next(f"{name} {about[name]}" for name in (about["keras_backend"], "keras") if name in about)
    figure.suptitle(f"{about['device']}, {about['processor']}, {about['cores']} cores, {library}", fontsize=9)
    return figure


def _loss(axes, results):
    lines = {}
    for row in results["loss"]:
        if "not_run" not in row:
            lines.setdefault((row["family"], row["implementation"]), []).append((row["encoders"], row["median_ms"]))
    families = list(dict.fromkeys(family for family, _ in lines))
    for (family, implementation), points in lines.items():
        k = families.index(family)
        filled = {"ours": {}}.get(implementation, {"linestyle": "--", "markerfacecolor": "white"})
        style = {"color": COLOURS[k], "marker": MARKERS[k], "markersize": 5, **filled}
        axes.plot(*zip(*points), label=f"{family.replace('_', ' ')}, {implementation}", **style)
    axes.set(
        xscale="log", yscale="log", xlabel="encoders N", ylabel="ms", title="loss, forward and backward (B = 128, D = 256)"
    )
    axes.set_xticks(sorted({row["encoders"] for row in results["loss"]}))
    _plain_numbers(axes.xaxis, axes.yaxis)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def _plain_numbers(*sides):
    for side in sides:
        side.set_major_formatter(StrMethodFormatter("{x:g}"))
        side.set_minor_formatter(NullFormatter())


def _steps(axes, results):
    rows = results["step"][::-1]
    names = [f"{row['case']}, {row['variant']}" for row in rows]
    for as_shipped, colour, label in ((True, COLOURS[0], "as configs have it"), (False, COLOURS[1], "another setting")):
        chosen = [k for k, row in enumerate(rows) if (row["variant"] == "default") == as_shipped]
        axes.plot([rows[k]["median_ms"] for k in chosen], chosen, "o", color=colour, label=label)
    axes.plot([row["floor_ms"] for row in rows], range(len(rows)), "k|", markersize=12, label="arithmetic floor")
    axes.set_yticks(range(len(rows)), names)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set(xscale="log", xlabel="ms", title="training step (N = 10, B = 128)")
    axes.tick_params(axis="y", labelsize=7)
    _plain_numbers(axes.xaxis)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
