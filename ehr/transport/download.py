"""A body that is read piece by piece, or into a file that is whole or not there.

Requirements S17, S21 and S34 of the EHR layer.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ehr.errors import ConfigurationError
from ehr.transport import body
from ehr.transport.attempts import framing, raw_stream
from ehr.transport.failure import failure_of


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written.

    Attributes:
        size: bytes.
        sha256: of the decoded content, hexadecimal.
    """

    size: int
    sha256: str


class Download:
    """A 2xx answer whose body is still to be read, once.

    Attributes:
        status: 200 to 299.
        headers: case-insensitive.
    """

    def __init__(self, raw: httpx.Response, limit_bytes: int) -> None:
        self.status = raw.status_code
        self.headers = raw.headers
        self._raw = raw
        self._limit = limit_bytes

    def __repr__(self) -> str:
        return f"Download({self.status})"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The decoded body in pieces of bounded size.

        Raises:
            BodyTooLarge, BadBody, ProtocolViolation, ConnectionFailed, TimedOut: reading stopped.
        """
        try:
            async for piece in body.pieces(raw_stream(self._raw), *framing(self.headers), self._limit):
                yield piece
        except httpx.TransportError as error:
            raise failure_of(error).error from None

    async def write_to(self, path: Path) -> Written:
        """Write the body to a file that only its owner can read.

        The file appears when it is complete: a failure or a cancellation leaves nothing behind.

        Raises:
            BodyTooLarge, BadBody, ProtocolViolation, ConnectionFailed, TimedOut: nothing was written.
            ConfigurationError: the folder cannot be written to, or the disk is full.
        """
        part = _Part(path)
        try:
            async for chunk in self.chunks():
                part.add(chunk)
            return part.keep()
        finally:
            part.discard()


class _Part:
    """The file while it grows: beside its final place, under another name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # mkstemp makes the file readable for its owner only.
            handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
        except OSError:
            raise ConfigurationError("The output folder does not exist or cannot be written to.") from None
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._part: Path | None = Path(name)
        self._digest = hashlib.sha256()
        self._size = 0

    def add(self, chunk: bytes) -> None:
        with _refusals_told():
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]
        self._digest.update(chunk)
        self._size += len(chunk)

    def keep(self) -> Written:
        with _refusals_told():
            os.fsync(self._file.fileno())
            self._file.close()
            if self._part is not None:
                self._part.replace(self._path)
                self._part = None
        return Written(self._size, self._digest.hexdigest())

    def discard(self) -> None:
        self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else f"the system refused ({type(error).__name__})"
        raise ConfigurationError(f"The file cannot be written: {reason}. Nothing was kept.") from None
