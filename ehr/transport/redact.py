"""What may be logged: an event's name, a type, a status, a count and a duration. Nothing else.

Requirement S22 of the EHR layer. Our loggers write such events only. HTTP libraries log URLs, so
their records are let through from WARNING on, without text, arguments and traceback.
"""

from __future__ import annotations

import logging
import re

_LIBRARIES = (
    "httpx",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "aiohttp",
    "aiohttp.client",
    "aiohttp.internal",
)
# Names of events and types come from our code or from FHIR's list of resources: a plain word.
_WORD = re.compile(r"[A-Za-z$_][A-Za-z0-9$_.-]{0,39}")
WITHHELD = "message withheld: it may name patients, URLs or secrets"


def event_logger(name: str) -> logging.Logger:
    """A logger that writes events made by `log_event` and withholds everything else."""
    logger = logging.getLogger(name)
    _add_once(logger, _OwnEvents)
    return logger


def log_event(
    logger: logging.Logger,
    event: str,
    *,
    level: int = logging.DEBUG,
    kind: str | None = None,
    status: int | None = None,
    count: int | None = None,
    duration_s: float | None = None,
    provider: str | None = None,
    request: int | None = None,
) -> None:
    """Write one event.

    Args:
        logger: from `event_logger`.
        event: a word of our own, such as ``http.answered``.
        level: of `logging`.
        kind: resource type, error class or endpoint class: a plain word, else it is left out.
        status: HTTP status.
        count: of attempts, entries, bytes.
        duration_s: seconds.
        provider: name of the EHR's kind, such as ``epic r4``.
        request: number of the request in this process; repetitions have the same.
    """
    if not logger.isEnabledFor(level):
        return
    parts = [word(event)]
    parts += [f"provider={word(provider.replace(' ', '-'))}"] if provider is not None else []
    parts += [f"request={int(request)}"] if request is not None else []
    parts += [f"type={word(kind)}"] if kind is not None else []
    parts += [f"status={int(status)}"] if status is not None else []
    parts += [f"count={int(count)}"] if count is not None else []
    parts += [f"duration={duration_s:.3f}s"] if duration_s is not None else []
    logger.log(level, " ".join(parts), extra={"ehr_event": True})


def word(text: str) -> str:
    """The text if it is a plain word, else ``-``. A text with three or more digits in a row is none."""
    return text if _WORD.fullmatch(text) and not re.search(r"\d{3}", text) else "-"


def install() -> None:
    """Put the filter on the loggers of the HTTP libraries. Calling it again changes nothing."""
    for name in _LIBRARIES:
        _add_once(logging.getLogger(name), _LibraryRecords)


class _OwnEvents(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "ehr_event", False):
            record.msg, record.args = WITHHELD, ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


class _LibraryRecords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return False
        record.msg, record.args = WITHHELD, ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def _add_once(logger: logging.Logger, kind: type[logging.Filter]) -> None:
    if not any(isinstance(present, kind) for present in logger.filters):
        logger.addFilter(kind())
