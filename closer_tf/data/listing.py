"""Which files of a folder are images: at every depth, and through linked folders, but nothing that is hidden."""

import os
from collections import Counter
from pathlib import Path

from PIL import Image

from closer_tf.errors import DataError

FORMATS = ("PNG", "JPEG", "JPEG2000", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA")
"""What is read, by Pillow's names; it reads more, but some of that starts other programs."""

_SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store")


def formats():
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def suffixes():
    """The suffixes of image files that are read here, in lower case."""
    known = formats()
    return {suffix for suffix, name in Image.registered_extensions().items() if name in known}


def is_hidden(name):
    """Whether a file or folder of this name is no data: hidden, or put there by macOS, Windows or a storage box."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def image_files(folder, above=(), recurse=True):
    """The image files under a folder.

    Args:
        folder: Path.
        above: Paths of folders that a link must not lead back to.
        recurse: also look into its folders.

    Returns:
        (files, left_out): sorted list of Path, and a Counter of the files that were left out, by reason.

    Raises:
        DataError: a folder cannot be read.
    """
    known, files, left_out, readable = {_identity(place) for place in (folder, *above)}, [], Counter(), suffixes()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        kept = []
        for name in sorted(folders) if recurse else ():
            place = Path(here, name)
            if is_hidden(name):
                left_out["hidden"] += sum(len(inside) for _, _, inside in os.walk(place))
            elif _identity(place) in known:
                left_out["links to a folder that is read already"] += 1
            else:
                known.add(_identity(place))
                kept.append(name)
        folders[:] = kept
        for name in names:
            reason = _reason(Path(here, name), readable)
            if reason is None:
                files.append(Path(here, name))
            elif reason:
                left_out[reason] += 1
    return sorted(files), left_out


def described(left_out):
    """A Counter of what was left out as text: '4 hidden, 2 .csv'."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())


def _reason(path, readable):
    """Why a file is left out; '' for what nobody would miss, None for an image."""
    if path.name.lower() in _SYSTEM_FILES:
        return ""
    if is_hidden(path.name):
        return "hidden"
    suffix = path.suffix.lower()
    if suffix not in readable:
        return suffix or "without a suffix"
    return None if path.is_file() else "not ordinary files"


def _identity(place):
    found = os.stat(place)
    return found.st_dev, found.st_ino


def _unreadable(error):
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}")
