"""The report's pictures: inline SVG, and compact PNG files as data URIs where there are pixels to show.

Every function returns `Markup` for the page; all text is escaped. Colours that follow the page's light or dark theme are CSS
variables of the page. `data-` attributes carry what is shown when the pointer is over a mark.
"""

import base64
import io
import math

import numpy as np
from markupsafe import Markup, escape

from closer_tf.common.values import counted, shortened

CLASS_COLOURS = ("#4269d0", "#d98a00", "#e2483d", "#25a08a", "#2f9e44", "#d6619c", "#a463f2", "#4aa8dd", "#9c6b4e", "#8a8f98")
MOST_POINTS = 40_000  # of all learning curves together
MOST_EDGES, MOST_NODES = 400, 40  # drawn as arrows; larger graphs are shown as a matrix


def strips(rows, names, many_groups):
    """Accuracies of single encoders and of ensembles, a row per group and condition.

    Args:
        rows: list of dicts as from `accuracy_rows`, all of one score.
        names: `Names`, which collects the runs' names for the page.
        many_groups: say the group of each row.
    """
    height = 20 if len(rows) <= 60 else 15
    left, right, width = 150, 14, 760
    total = 24 + height * len(rows) + 24
    values = [value for row in rows for run in row["per_encoder"] for value in run]
    for row in rows:
        for name in ("single", "ensemble"):
            if name in row["readouts"]:
                found, reference = row["readouts"][name], row["readouts"][name]["published"]
                values += [found["mean"], *_interval(found, row["score"])]
                values += [reference["mean"]] if reference else []
        values += [row["chance"]] if row["chance"] is not None else []
    scale = Scale(values, left, width - right, limits=_limits(rows[0]["score"]))
    parts = [_axis(scale, 18, total - 22)]
    for k, row in enumerate(rows):
        parts.append(_strip(row, scale, 24 + height * (k + 0.5), height, names, many_groups))
    reach = f"from {min(values):.3f} to {max(values):.3f}"
    says = f"Test {rows[0]['score']} of {len(rows)} rows, {reach}. The table above has the means."
    return _svg(width, total, says, parts, scale)


def _limits(score):
    """What a score can be."""
    return (-math.inf, 1.0) if score == "R^2" else (0.0, 1.0)


def _interval(found, score):
    """The ends of an interval as far as the score can be there, [] for none."""
    if found["half"] is None:
        return []
    low, high = _limits(score)
    return [max(found["mean"] - found["half"], low), min(found["mean"] + found["half"], high)]


def _strip(row, scale, y, height, names, many_groups):
    label = f"{row['group'].number}: {row['name']}" if many_groups else row["name"]
    parts = [
        f'<g style="color:{row["colour"]}"><text class="name" x="142" y="{y + 4:.0f}">{escape(shortened(label, 24))}</text>'
    ]
    if row["chance"] is not None:
        x = scale(row["chance"])
        parts.append(f'<path class="chance" d="M{x:.1f} {y - height / 2 + 1:.1f}v{height - 2}"/>')
    per_run = len(row["per_encoder"][0]) if row["per_encoder"] else 0
    if per_run:
        spread = (height - 8) / max(1, per_run - 1)
        dots = "".join(
            f"M{scale(value):.1f} {y + (i - (len(run) - 1) / 2) * min(spread, 1.5):.1f}h0"
            for run in row["per_encoder"]
            for i, value in enumerate(run)
        )
        same = all(len(run) == per_run for run in row["per_encoder"])
        about = f' data-names="{names.index(row["runs"])}" data-encoders="{names.index(row["encoders"])}"' if same else ""
        parts.append(f'<path class="dots hover" data-what="encoder" d="{dots}"{about}/>')
    for name, size in (("single", 0), ("ensemble", 5)):
        if name not in row["readouts"]:
            continue
        found = row["readouts"][name]
        x, says = scale(found["mean"]), f"{row['name']}, {name}, mean of {_seeds(found['seeds'])}"
        if found["half"] is not None:
            low, high = map(scale, _interval(found, row["score"]))
            parts.append(f'<path class="interval" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
        shape = (
            f"M{x:.1f} {y - 6:.1f}v12" if not size else f"M{x:.1f} {y - size:.1f}l{size} {size}l-{size} {size}l-{size}-{size}z"
        )
        parts.append(f'<path class="{name} hover" data-name="{escape(says)}" data-v="{found["mean"]:.4f}" d="{shape}"/>')
        if found["published"]:
            x = scale(found["published"]["mean"])
            says = f"published, figure {found['published']['figure']}, {name}"
            parts.append(
                f'<path class="published hover" data-name="{escape(says)}" data-v="{found["published"]["mean"]:.4f}" '
                f'd="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"/>'
            )
    return "".join([*parts, "</g>"])


def over_epochs(rows, readout, untrained):
    """Accuracy over epochs of one group, on a logarithmic axis where the epochs span a decade.

    Args:
        rows: list of dicts as from `epochs_rows`, of one group, with an epoch after 0.
        readout: 'single' or 'ensemble'. The scale of accuracies has room for both.
        untrained: dict readout -> accuracy of untrained encoders, drawn as a line; may be empty.
    """
    width, height, left, right, top, bottom = 340, 230, 46, 14, 8, 34
    trained = [row for row in rows if row["epochs"]]
    first, last = trained[0], trained[-1]
    place = math.log10 if last["epochs"] >= 10 * first["epochs"] else float
    x = Scale([place(row["epochs"]) for row in trained], left + 8, width - right)
    both = [line for name in ("single", "ensemble") for line in _levels(first, name, untrained)]
    means = [found for row in trained for name, found in row["readouts"].items() if name in ("single", "ensemble")]
    reach = [found["mean"] + sign * (found["half"] or 0) for found in means for sign in (-1, 1)]
    y = Scale([*reach, *(value for _, value, _ in both)], height - bottom, top)
    parts = []
    for tick in y.ticks(5):
        parts.append(f'<path class="grid" d="M{left} {y(tick):.1f}H{width - right}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 5}" y="{y(tick) + 4:.1f}">{y.text(tick)}</text>')
    parts += _epoch_ticks([(row["epochs"], x(place(row["epochs"]))) for row in trained], height - bottom + 14)
    unit = "epochs of training, logarithmic" if place is math.log10 else "epochs of training"
    parts.append(f'<text class="tick" text-anchor="end" x="{width - right}" y="{height - 2}">{unit}</text>')
    for says, value, kind in _levels(first, readout, untrained):
        about = f'data-name="{escape(says)}" data-v="{value:.4f}"'
        parts.append(f'<path class="{kind} hover" {about} d="M{width - right} {y(value):.1f}H{left}"/>')
    found = [(x(place(row["epochs"])), row, row["readouts"][readout]) for row in trained if readout in row["readouts"]]
    parts += [f'<g style="color:{first["colour"]}">', *_over_epochs(found, readout, y), "</g>"]
    says = f"Test {first['score']}, {readout}, after {first['epochs']} to {counted(last['epochs'])}. The table has the means."
    return _svg(width, height, says, parts)


def _levels(row, readout, untrained):
    """What is drawn as a line across: list of (what it says, value, class)."""
    lines = []
    if readout in untrained:
        lines.append((f"untrained, 0 epochs, {readout}", untrained[readout], "untrained"))
    reference = row["readouts"].get(readout, {}).get("published")
    if reference:
        says = f"published, figure {reference['figure']}, {reference['epochs']} epochs, {readout}"
        lines.append((says, reference["mean"], "published dashed"))
    return lines + ([("chance", row["chance"], "chance")] if row["chance"] is not None else [])


def _over_epochs(found, readout, y):
    """A line of means, with a mark and an interval at each epoch: `found` has (pixels across, row, values)."""
    if not found:
        return []
    line = " ".join(f"{x:.1f} {y(it['mean']):.1f}" for x, _, it in found)
    parts = [f'<path class="line own" d="M{line}"/>']
    for x, row, it in found:
        at = y(it["mean"])
        if it["half"] is not None:
            low, high = y(it["mean"] - it["half"]), y(it["mean"] + it["half"])
            parts.append(f'<path class="interval" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')
        says = f"{row['name']}, {readout}, after {counted(row['epochs'])}, mean of {_seeds(it['seeds'])}"
        shape = f"M{x - 4:.1f} {at:.1f}h8" if readout == "single" else f"M{x:.1f} {at - 5:.1f}l5 5l-5 5l-5-5z"
        parts.append(f'<path class="{readout} hover" data-name="{escape(says)}" data-v="{it["mean"]:.4f}" d="{shape}"/>')
    return parts


def _epoch_ticks(places, y):
    """Numbers of epochs below their places (epochs, pixels), with room between them, the last in any case."""
    parts, before, end = [], -math.inf, places[-1][1]
    for epochs, x in places:
        if x == end or (x - before >= 30 and end - x >= 30):
            parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{y}">{epochs}</text>')
            before = x
    return parts


def curves(quantity, series, points):
    """One logged quantity over epochs.

    Args:
        quantity: its name.
        series: list of (name, kind, epochs, values); kind is 'training' or 'validation'.
        points: most points per line.
    """
    width, height, left, right, top, bottom = 340, 190, 52, 8, 8, 30
    finite = [value for *_, values in series for value in values if math.isfinite(value)]
    epochs = [epoch for _, _, found, _ in series for epoch in found]
    if not finite:
        return Markup('<p class="note">no finite value</p>')
    x = Scale([*epochs, 0 if max(epochs) > 5 else min(epochs)], left, width - right, pad=0)
    y = Scale(finite, height - bottom, top)
    parts = []
    for tick in y.ticks(4):
        parts.append(f'<path class="grid" d="M{left} {y(tick):.1f}H{width - right}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 5}" y="{y(tick) + 4:.1f}">{y.text(tick)}</text>')
    for tick in x.ticks(5):
        if tick == int(tick):
            parts.append(f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{height - 14}">{int(tick)}</text>')
    parts.append(f'<text class="tick" text-anchor="end" x="{width - right}" y="{height - 2}">epoch</text>')
    for name, kind, at, values in series:
        line = _line(at, values, x, y, points)
        many = " faint" if len(series) > 6 else ""
        parts.append(f'<path class="line {kind}{many} hover" data-name="{escape(name)}, {kind}" data-what="epoch" d="{line}"/>')
    last = ", ".join(sorted({f"{kind} ends at {values[-1]:.4g}" for _, kind, _, values in series})[:4])
    says = f"{quantity} over {len(series)} lines and up to {max(epochs):.0f} epochs; {last}."
    return _svg(width, height, says, parts, x, y)


def _line(at, values, x, y, points):
    chosen = sorted({round(k) for k in np.linspace(0, len(values) - 1, min(points, len(values)))})
    parts, pen = [], "M"
    for k in chosen:
        if not math.isfinite(values[k]):
            pen = "M"
            continue
        parts.append(f"{pen}{x(at[k]):.1f} {y(values[k]):.1f}")
        pen = " "  # a pair of numbers after "M x y" is where a line goes
    if len(parts) == 1:
        parts.append("h0")
    return "".join(parts)


def graph(interaction, encoders=()):
    """An interaction graph: arrows around a circle, or, for a large one, its matrix.

    Args:
        interaction: `InteractionGraph`.
        encoders: names written beside the nodes, such as brain areas. Default: the encoders' numbers, in the nodes.
    """
    if interaction.num_encoders > MOST_NODES or interaction.num_edges > MOST_EDGES:
        matrix = interaction.matrix()
        return heat(matrix, f"Matrix of the interaction graph, {interaction.num_edges} edges", side=200)
    size, count = 200, interaction.num_encoders
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    at = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 82 + size / 2
    largest = interaction.weights.max()
    parts = []
    for (i, j), weight in zip(interaction.edges, interaction.weights):
        direction = (at[j] - at[i]) / np.linalg.norm(at[j] - at[i])
        side = 1.5 * np.array([-direction[1], direction[0]])  # the way back has a line of its own
        start, end = at[i] + 10 * direction + side, at[j] - 11 * direction + side
        back = end - 5 * direction
        flank = 2 * side
        parts.append(
            f'<path class="edge" style="opacity:{0.25 + 0.75 * weight / largest:.2f}" d="M{_at(start)}L{_at(end)}'
            f'M{_at(back + flank)}L{_at(end)}L{_at(back - flank)}"/>'
        )
    for i, (left, top) in enumerate(at):
        parts.append(f'<circle class="node" cx="{left:.1f}" cy="{top:.1f}" r="9"/>')
        if not encoders:
            parts.append(f'<text class="tick" text-anchor="middle" x="{left:.1f}" y="{top + 4:.1f}">{i}</text>')
            continue
        out = (at[i] - size / 2) / 82
        anchor = "middle" if abs(out[0]) < 0.2 else "start" if out[0] > 0 else "end"
        x, y = at[i] + 13 * out + np.array([0, 4 + 3 * out[1]])
        parts.append(
            f'<text class="tick" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(shortened(encoders[i], 20))}</text>'
        )
    says = f"Interaction graph {interaction.family.replace('_', ' ')} of {count} encoders with {interaction.num_edges} edges."
    room = 7 * max((len(shortened(name, 20)) for name in encoders), default=0)
    return _svg(size, size, says, parts, box=(-room, -14 * bool(room), size + 2 * room, size + 28 * bool(room)))


def mask(seen, says, side=64):
    """A boolean array (height, width) as a small picture.

    Args:
        seen: the array.
        says: str, alternative text.
        side: width in CSS pixels.
    """
    palette = [0, 0, 0, 66, 105, 208]
    return _image(_png(np.asarray(seen, dtype=np.uint8), palette, transparent=True), says, side, "mask")


def heat(matrix, says, side=64, largest=None):
    """A matrix as colours from dark (0) to light (`largest`, by default its maximum).

    Args:
        matrix: array (rows, columns), not negative.
        says: str, alternative text.
        side: width in CSS pixels.
        largest: value of the lightest colour.
    """
    from closer_tf.plots.pixels import palette

    matrix = np.nan_to_num(np.asarray(matrix, dtype=np.float64))
    largest = largest or matrix.max() or 1.0
    levels = np.clip(np.round(matrix / largest * 255), 0, 255).astype(np.uint8)
    return _image(_png(levels, palette().ravel().tolist()), says, side, "heat")


def labelled_heat(matrix, names, says, largest):
    """A square matrix with the names of its rows and columns; without them where there are more than 20."""
    picture = heat(matrix, says, 176, largest)
    if len(names) > 20:
        return picture
    size, room = 176, 12 + 6 * max(len(shortened(name, 10)) for name in names)
    step = size / len(names)
    parts = [f'<image class="heat" x="{room}" y="0" width="{size}" height="{size}" href="{_source(picture)}"/>']
    for k, name in enumerate(names):
        at, text = (k + 0.5) * step, escape(shortened(name, 10))
        parts.append(f'<text class="tick" text-anchor="end" x="{room - 4}" y="{at + 4:.1f}">{text}</text>')
        place = f"translate({room + at + 4:.1f} {size + 5}) rotate(-90)"
        parts.append(f'<text class="tick" text-anchor="end" transform="{place}">{text}</text>')
    return _svg(room + size + 2, size + room, says, parts)


def scatter(points, labels, label_names, says, axes=("", "")):
    """Points in two dimensions, coloured by label.

    Args:
        points: array (n, 2).
        labels: array (n,), ints into `label_names`, or numbers.
        label_names: tuple of str; empty where labels are numbers, which are then coloured in ten steps from low to high.
        says: str, alternative text.
        axes: names of the horizontal and the vertical axis.
    """
    size, left, below = 230, 46, 32
    x, y = Scale(points[:, 0], 6, size - 6), Scale(points[:, 1], size - 6, 6)
    kinds, names, colours = labels, list(label_names), class_colours(len(label_names))
    if not label_names:
        from closer_tf.plots.pixels import hex_colours

        low, high = labels.min(), labels.max()
        kinds = np.minimum((labels - low) / ((high - low) or 1) * 10, 9).astype(int)
        names = [f"{low + (high - low) * k / 10:.3g} to {low + (high - low) * (k + 1) / 10:.3g}" for k in range(10)]
        colours = hex_colours(10)
    parts = [f'<rect class="frame" x=".5" y=".5" width="{size - 1}" height="{size - 1}"/>']
    for kind in np.unique(kinds):
        dots = "".join(f"M{x(px):.0f} {y(py):.0f}h0" for px, py in points[kinds == kind])
        colour = colours[kind % len(colours)]
        parts.append(f'<path class="points hover" data-name="{escape(names[kind])}" style="stroke:{colour}" d="{dots}"/>')
    for tick in x.ticks(4):
        parts.append(f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{size + 13}">{x.text(tick)}</text>')
    for tick in y.ticks(4):
        parts.append(f'<text class="tick" text-anchor="end" x="-5" y="{y(tick) + 4:.1f}">{y.text(tick)}</text>')
    place = f"translate({12 - left} {size / 2}) rotate(-90)"
    parts.append(f'<text class="tick" text-anchor="middle" x="{size / 2}" y="{size + 27}">{escape(axes[0])}</text>')
    parts.append(f'<text class="tick" text-anchor="middle" transform="{place}">{escape(axes[1])}</text>')
    return _svg(size, size, says, parts, box=(-left, -2, size + left + 2, size + below + 2))


def class_colours(count):
    """A colour for each of so many classes: distinct ones up to ten, from there on in steps from dark to light."""
    from closer_tf.plots.pixels import hex_colours

    return CLASS_COLOURS if count <= len(CLASS_COLOURS) else hex_colours(count)


def key(label_names):
    """The colours of a scatter plot's classes, as list items; nothing where labels are numbers or there are too many."""
    if not 1 < len(label_names) <= 20:
        return Markup("")
    dots = (f'<span class="dot" style="background:{colour}"></span>' for colour in class_colours(len(label_names)))
    items = "".join(f"<li>{dot}{escape(shortened(name, 30))}</li>" for dot, name in zip(dots, label_names))
    return Markup(f'<ul class="key">{items}</ul>')


class Names:
    """Lists of names that marks of the page refer to by number, each stored once."""

    def __init__(self):
        self.lists = []

    def index(self, names):
        """The number of a list of names."""
        names = list(names)
        if names not in self.lists:
            self.lists.append(names)
        return self.lists.index(names)


class Scale:
    """A linear map from values to pixels.

    Args:
        values: what has to fit.
        start, end: pixels of the lowest and the highest value.
        pad: room beyond either, as part of the range.
        limits: what values can be; no room is made beyond.
    """

    def __init__(self, values, start, end, pad=0.04, limits=(-math.inf, math.inf)):
        low, high = float(np.min(values)), float(np.max(values))
        room = pad * (high - low) or (0 if pad == 0 and high > low else 0.5 * abs(high) or 0.5)
        self.low, self.high = max(low - room, min(low, limits[0])), min(high + room, max(high, limits[1]))
        self.start, self.end = start, end

    def __call__(self, value):
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count):
        """About `count` round numbers within the scale."""
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= raw * 0.999)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]

    def text(self, tick):
        """A tick's number with as many digits as the scale needs."""
        reach = max(abs(self.low), abs(self.high))
        digits = max(3, len(str(int(reach))), math.ceil(math.log10(reach / (self.high - self.low))) + 2)
        return f"{tick:.{digits}g}"


def _axis(scale, top, bottom):
    parts = []
    for tick in scale.ticks(7):
        x = scale(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        for y in (top - 5, bottom + 14):
            parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{y}">{scale.text(tick)}</text>')
    return "".join(parts)


def _svg(width, height, says, parts, x=None, y=None, box=None):
    """An SVG element; where scales are given the page can turn pixels back into values. `box`: left, top, width and height of
    what is shown, by default (0, 0, width, height)."""
    left, top, width, height = box or (0, 0, width, height)
    scales = "".join(
        f' data-{name}="{scale.start} {scale.end} {scale.low:.6g} {scale.high:.6g}"'
        for name, scale in (("x", x), ("y", y))
        if scale
    )
    size = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
    return Markup(f'<svg role="img" aria-label="{escape(says)}" {size}{scales}>{"".join(parts)}</svg>')


def _png(levels, palette, transparent=False):
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(levels))
    picture.putpalette(palette)
    buffer = io.BytesIO()
    bits = 1 if len(palette) <= 6 else 8
    picture.save(buffer, "PNG", optimize=True, bits=bits, **({"transparency": 0} if transparent else {}))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _image(source, says, side, kind):
    return Markup(f'<img class="{kind}" src="{source}" alt="{escape(says)}" width="{side}" height="{side}">')


def _source(picture):
    return str(picture).split('src="')[1].split('"')[0]


def _seeds(count):
    return f"{count} seeds" if count > 1 else "1 seed"


def _at(point):
    return f"{point[0]:.1f} {point[1]:.1f}"
