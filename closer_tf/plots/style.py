"""How all pictures look, in one place: fonts and lines, letters of any script, files. Never imports
TensorFlow.
"""

import functools
import io

import matplotlib
from matplotlib.text import Text

from closer_tf.common.files import given_path, write_atomically
from closer_tf.errors import ConfigError

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.cmap": "viridis",
    "pdf.fonttype": 42,  # letters stay letters in PDF
    "svg.hashsalt": "closer_tf",  # the names of an SVG's parts follow from what is drawn
}
"""matplotlib's settings under which every picture is drawn and written."""

TRAINING, VALIDATION = "#0072b2", "#d55e00"

_OF_SYMBOLS = ("cm", "STIXSize", "STIXNonUnicode", "Last", ".Last")  # fonts whose letters are others than they say

FORMATS = ("png", "pdf", "svg")
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""What keeps the time of writing out of a file."""


def in_style(draw):
    """Decorator for a function that returns a Figure: drawn in our style, with letters that can be shown."""

    @functools.wraps(draw)
    def styled(*args, **options):
        with matplotlib.rc_context(STYLE):
            return make_legible(draw(*args, **options))

    return styled


def save(figure, path, formats=()):
    """Write a figure, completely or not at all; the same figure gives the same bytes.

    Args:
        figure: matplotlib Figure.
        path: the file; its suffix is one of .png, .pdf and .svg.
        formats: write it beside in these formats, too.

    Raises:
        ConfigError: the suffix is another.
        RunError: the file cannot be written.
    """
    path = given_path(path)
    for file in dict.fromkeys([path, *(path.with_suffix(f".{name}") for name in formats)]):
        kind = file.suffix.removeprefix(".").lower()
        if kind not in FORMATS:
            raise ConfigError(f"{file}: expected a picture's name that ends in .{', .'.join(FORMATS)}")
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            make_legible(figure).savefig(buffer, format=kind, dpi=120, bbox_inches="tight", metadata=UNDATED.get(kind))
        write_atomically(file, buffer.getvalue())


FORMULA = "formula"
"""What tells a text that `write_formula` has written from all others."""


def make_legible(figure):
    """Show the texts of a figure as they are: a dollar is a dollar, and letters that the usual font lacks come from another.

    Letters that no font of this machine has are written as their numbers (backslash, u, four digits), and a line below says so.

    Args:
        figure: matplotlib Figure, which is changed.

    Returns:
        The figure.
    """
    texts = figure.findobj(Text)
    for text in texts:
        text.set_parse_math(text.get_gid() == FORMULA)  # other names come from data files
    usual = _characters(_font_file("DejaVu Sans"))
    rare = frozenset("".join(text.get_text() for text in texts)) - usual - {"\n"}
    if not rare:
        return figure
    printable = frozenset(filter(str.isprintable, rare))
    families, unknown = _fonts_with(printable)
    for text in texts:
        text.set_fontfamily(["DejaVu Sans", *families])
    unknown |= rare - printable
    if unknown:
        _write_as_numbers(figure, texts, unknown)
    return figure


def write_formula(text):
    """Have a text of a figure, such as G_N^k, shown as a formula: of names that the package gives, not data."""
    text.set(text=f"${text.get_text()}$", gid=FORMULA)


def _write_as_numbers(figure, texts, unknown):
    def written(label):
        return "".join(f"\\u{ord(c):04x}" if c in unknown else c for c in label)

    for axes in figure.axes:  # whose labels are made anew from their list whenever they are drawn
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if unknown.intersection("".join(labels)):
                axis.set_ticklabels([written(label) for label in labels])
    for text in texts:
        text.set_text(written(text.get_text()))
    note = "letters that no font on this machine has are written as numbers; a font such as Noto Sans CJK shows them"
    figure.text(0, 0, note, fontsize=6, va="top", color="0.4")


@functools.lru_cache
def _fonts_with(rare):
    """(names of installed fonts that have these characters, the characters that none has)."""
    from matplotlib.font_manager import fontManager

    families, left = [], set(rare)
    for font in sorted(fontManager.ttflist, key=lambda font: (font.style != "normal", abs(_weight(font) - 400), font.name)):
        if not left:
            break
        if font.name.startswith(_OF_SYMBOLS):
            continue
        found = left & _characters(font.fname)
        if found:
            families.append(font.name)
            left -= found
    return families, frozenset(left)


def _weight(font):
    return font.weight if isinstance(font.weight, int) else 400


@functools.lru_cache
def _characters(file):
    """The characters of a font file; none where matplotlib cannot draw them."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _font_file(name):
    from matplotlib.font_manager import findfont

    return findfont(name)
