"""Fetching a model that the access check has named, pinned by the SHA-256 in the task.

The address is signed and lets whoever has it fetch the model, so it is a secret: no error and no log holds it. What
comes is trusted only once all of it has the pinned digest and is a safetensors file; until then it has no name that
anything would open.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import IO

import httpx

from ehr.transport import redact
from ehr.transport.tls import tls_context
from federated.errors import FederatedError, InvalidArgument, TaskRefused
from federated.models.files import load
from federated.types.access import ModelURLs

_DIGEST = re.compile(r"[0-9a-f]{64}")
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Fetching:
    """How a model is fetched, and how much of it.

    Attributes:
        folder: of fetched models; one is there under its digest, and is not fetched twice.
        largest: bytes; more is refused while it comes.
        seconds: for everything together.
        redirects: how many are followed; only ever on the same origin.
        tls: what is trusted; None for the authorities of the system.
        clock: seconds that only grow.
    """

    folder: Path
    largest: int = 2 * 1024**3
    seconds: float = 900.0
    redirects: int = 3
    tls: SSLContext | None = field(default=None, repr=False)
    clock: Callable[[], float] = time.monotonic


def fetch(urls: ModelURLs, sha256: str, how: Fetching) -> Path:
    """The model's file, in the folder of fetched models.

    Only numbers are fetched: the weights, or the model where it is one file. Code never is.

    Args:
        urls: from the access check.
        sha256: from the task, 64 hexadecimal digits.
        how: see `Fetching`.

    Raises:
        TaskRefused: it cannot be fetched, is too large or late, or is not the model that the task names.
    """
    pinned = sha256.lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(pinned):
        raise _refused("has no SHA-256 of 64 hexadecimal digits in the task")
    kept = how.folder / f"{pinned}.safetensors"
    if not _is_there(kept, pinned):
        address = urls.model_download_url if urls.model_weights_url is None else urls.model_weights_url
        _fetched(_address(address), pinned, kept, how)
    return kept


def _is_there(kept: Path, pinned: str) -> bool:
    if not kept.exists():
        return False
    try:
        load(kept, sha256=pinned)
    except InvalidArgument:
        return False  # what lies there was changed: it is fetched again
    return True


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError):
        raise _refused("has an address that cannot be read") from None
    if url.scheme != "https" or not url.host or url.userinfo:
        raise _refused("has an address that is not plain https")
    return url


def _fetched(url: httpx.URL, pinned: str, kept: Path, how: Fetching) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(".part", ".", kept.parent)
    waiting = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            found = _streamed(url, file, how)
            file.flush()
            os.fsync(file.fileno())
        if found != pinned:
            raise _refused("has another SHA-256 than the task names")
        try:
            load(waiting, sha256=pinned)
        except InvalidArgument as error:
            raise _refused(f"cannot be used: {error}") from None
        waiting.replace(kept)
    except (httpx.HTTPError, OSError) as error:
        # Neither has a text that could be shown: they name hosts and addresses.
        raise _refused(f"cannot be fetched ({type(error).__name__})") from None
    finally:
        with suppress(OSError):
            waiting.unlink(missing_ok=True)


def _streamed(url: httpx.URL, file: IO[bytes], how: Fetching) -> str:
    """Write the body, and give its SHA-256."""
    redact.install()
    ends, origin = how.clock() + how.seconds, (url.scheme, url.host, url.port)
    # No proxy, netrc or certificate of the environment: they would get the address or change who is trusted.
    with httpx.Client(verify=how.tls or tls_context(), trust_env=False, timeout=30.0) as client:
        for _ in range(how.redirects + 1):
            with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
                if answer.status_code not in _REDIRECTS:
                    return _body(answer, file, how, ends)
                url = _next(answer, url)
            if (url.scheme, url.host, url.port) != origin:
                raise _refused("is redirected to another server")
    raise _refused(f"is redirected more than {how.redirects} times")


def _next(answer: httpx.Response, url: httpx.URL) -> httpx.URL:
    try:
        return _address(str(url.join(answer.headers.get("location", ""))))
    except httpx.InvalidURL:
        raise _refused("is redirected to an address that cannot be read") from None


def _body(answer: httpx.Response, file: IO[bytes], how: Fetching, ends: float) -> str:
    if answer.status_code != 200:
        raise _refused(f"cannot be fetched (HTTP {answer.status_code})")
    digest, size = hashlib.sha256(), 0
    # Raw: what is compressed is not opened, so its size is the size. As it comes: pieces of a size of ours would let
    # a server that sends a byte at a time outlast the clock.
    for part in answer.iter_raw():
        size += len(part)
        if size > how.largest:
            raise _refused(f"has more than the {how.largest} bytes that are allowed")
        if how.clock() > ends:
            raise _refused(f"did not come within {how.seconds:g} s")
        digest.update(part)
        file.write(part)
    return digest.hexdigest()


def _refused(why: str) -> FederatedError:
    return TaskRefused("TASK_SETUP_ERROR", f"The task's model {why}. Nothing of it was used.")
