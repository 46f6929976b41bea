"""Writing results: private (0600), whole or not at all, never through a link."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

from federated.screening.report.errors import OutputError

PRIVATE_FOLDER = 0o700
UNFINISHED = ".writing-"
"""Start of the name of a file that is not complete yet."""


def ready(folder: Path) -> Path:
    """Make the output folder, readable by its owner only if it is new.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("The output folder", error.errno or 0) from None
    return folder


def write(path: Path, pieces: Iterable[str]) -> Path:
    """Write a text file beside its place and move it there once it is complete and on the disk.

    The file is new, so neither a link nor the rights of an older file count; it belongs to its owner only.

    Raises:
        OutputError: the system refused; an older file of this name is untouched.
    """
    temporary: Path | None = None
    try:
        with NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=path.parent, prefix=UNFINISHED, delete=False
        ) as file:  # mode 0600, whatever the umask
            temporary = Path(file.name)
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(path.name, error.errno or 0) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a file that is no longer true.

    Raises:
        OutputError: the system refused.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(path.name, error.errno or 0) from None
