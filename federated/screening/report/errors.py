"""What can go wrong when results are written."""

from __future__ import annotations

import errno

from federated.errors import UsageError


class OutputError(UsageError):
    """A result file cannot be written; what stood there before is untouched.

    Attributes:
        file: name of the file, without its folder.
        code: ``errno`` of the system's refusal, 0 if there is none.
    """

    def __init__(self, file: str, code: int) -> None:
        self.file, self.code = file, code
        super().__init__(f"{file} was not written: {_WHY.get(code, _OTHER)} Earlier files are unchanged.")


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
