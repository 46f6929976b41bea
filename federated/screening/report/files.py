"""Writing results: private (0600), whole or not at all, never through a link."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

from federated.errors import UsageError

PRIVATE_FOLDER = 0o700
UNFINISHED = ".writing-"
"""Start of the name of a file that is not complete yet."""


_OTHER = "the system refused it. Choose another folder with --out and run the same command again."
_ROOM = "the disk or the quota is full. Free space, or choose another folder with --out, then run it again."
_RIGHT = (
    "the output folder does not allow writing. Choose another folder with --out, or change its permissions."
)
_WHY = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EACCES: _RIGHT,
    errno.EPERM: _RIGHT,
    errno.EROFS: _RIGHT,
    errno.ENOTDIR: "a part of the output path is a file; a folder was expected. Choose another one with --out.",
    errno.EEXIST: "the output path is a file; a folder was expected. Choose another one with --out.",
    errno.EISDIR: "a folder with this name is in the way. Remove it, or choose another folder with --out.",
}


class OutputError(UsageError):
    """A result file cannot be written; what stood there before is untouched.

    Attributes:
        file: name of the file, without its folder.
        code: ``errno`` of the system's refusal, 0 if there is none.
    """

    def __init__(self, file: str, code: int) -> None:
        self.file, self.code = file, code
        super().__init__(f"{file} was not written: {_WHY.get(code, _OTHER)} Earlier files are unchanged.")


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
