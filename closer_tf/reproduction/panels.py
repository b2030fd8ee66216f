"""The panels of the paper's figures as data: what is drawn, the sweep behind it at each scale, and the published numbers.

The definitions are the JSON files of `closer_tf/panels`, the published numbers those of `closer_tf/analysis/published.py`.
"""

import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from closer_tf.analysis.published import epochs_of, published_series
from closer_tf.config import suggestion
from closer_tf.config.base import Section
from closer_tf.config.files import read_json
from closer_tf.config.reading import validated
from closer_tf.errors import ConfigError
from closer_tf.sweeps.config import SweepConfig

PACKAGE = Path(__file__).resolve().parents[1]
PANELS = PACKAGE / "panels"

Readout = Literal["single", "ensemble", "alignment", "mean_probability", "max_probability"]


class Published(Section):
    """Which published series stands beside ours."""

    figure: str
    """The paper's panel."""
    condition: str
    """Its series."""
    masking: str | None = None
    """Its masks, where a panel shows several."""


class Series(Section):
    """One line, violin or matrix of a panel."""

    name: str
    """What it is called in the picture."""
    where: list[dict[str, Any]] = Field(min_length=1)
    """Which runs belong to it: those whose config has all keys and values of one of these objects."""
    colour: str
    """A condition, for that condition's colour, or a colour."""
    published: Published | None = None
    """The published numbers. Default null: there are none."""
    constant: bool = False
    """The same for all x: drawn as a horizontal line."""
    readout: Readout | None = None
    """In place of the panel's readouts. Default null: those."""


class Panel(Section):
    """One panel of a figure."""

    title: str
    """What it shows."""
    form: Literal["lines", "violins", "matrices"]
    """How the paper draws it."""
    readouts: list[Readout] = ["single"]
    """What is shown of each run; violins show each of them beside the other."""
    x: str = ""
    """What lines run over: a key of the run config, or 'density' for that of the interaction graph."""
    x_label: str = ""
    """Label of the horizontal axis."""
    series: list[Series] = Field(min_length=1)
    """What is drawn."""


class PanelFile(Section):
    """Panels that share a sweep."""

    about: str
    """The experiment."""
    sweeps: dict[Literal["quick", "full"], SweepConfig]
    """The sweep behind them: 'full' as in the paper, 'quick' with fewer epochs, seeds and points."""
    panels: dict[str, Panel]
    """The panels by the paper's name, such as '3b'."""


@functools.cache
def panel_files():
    """All panel definitions that ship with the package, as a dict path -> `PanelFile`."""
    return {path: validated(PanelFile, read_json(path), str(path)) for path in sorted(PANELS.glob("*.json"))}


def choose_panels(names):
    """The panels that some names stand for.

    Args:
        names: such as 'fig3b', '3b', or 'fig3' for all panels of figure 3; none stands for every panel of the paper.

    Returns:
        List of (path, `PanelFile`, panel name, `Panel`), in the order of the figures.

    Raises:
        ConfigError: there is no such panel.
    """
    every = [(path, file, name, panel) for path, file in panel_files().items() for name, panel in file.panels.items()]
    every.sort(key=lambda entry: (not entry[2][0].isdigit(), entry[2]))
    if not names:
        return [entry for entry in every if is_of_paper(entry[2])]
    chosen = []
    for name in names:
        short = name.removeprefix("fig")
        fitting = [entry for entry in every if entry[2] == short] or [entry for entry in every if entry[2][:-1] == short]
        if not fitting:
            known = [f"fig{entry[2]}" if is_of_paper(entry[2]) else entry[2] for entry in every]
            hint = suggestion(name, known)
            raise ConfigError(f"no panel '{name}'; expected one of {', '.join(known)}, or a whole figure such as fig3.{hint}")
        chosen += [entry for entry in fitting if entry not in chosen]
    return chosen


def is_of_paper(name):
    """Whether a panel is one of the paper's, not one for trying things out."""
    return name[0].isdigit() or name[0] == "S"


def published_points(series, readout):
    """The published points of a series.

    Args:
        series: `Series`.
        readout: 'single' or 'ensemble'.

    Returns:
        As `closer_tf.analysis.published.published_series`.
    """
    wanted = series.published
    return [] if wanted is None else published_series(wanted.figure, wanted.condition, readout, wanted.masking)


def published_epochs(series):
    """Epochs of the published trainings of a series, or None: nothing is trained, or nothing was published."""
    return None if series.published is None else epochs_of(series.published.figure, series.published.condition)
