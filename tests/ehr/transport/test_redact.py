"""Nothing that names a patient, a URL or a secret is logged (S22)."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.transport.client import Transport
from ehr.transport.redact import WITHHELD, event_logger, install, log_event, word

CANARY = "https://fhir.example.org/Patient?family=Canary Bearer eyJhbGciOi.Canary"


@pytest.mark.parametrize(
    "name", ["httpx", "httpcore.http11", "httpcore.connection", "aiohttp.client", "aiohttp.internal"]
)
def test_records_of_http_libraries_lose_text_arguments_and_traceback(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    install()
    install()
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, name)
    logger = logging.getLogger(name)
    try:
        raise ValueError(CANARY)
    except ValueError:
        logger.info("HTTP Request: GET %s", CANARY)
        logger.debug(CANARY)
        logger.error("failed %s", CANARY, exc_info=True, stack_info=True)
    assert [record.getMessage() for record in caplog.records] == [WITHHELD]
    assert "Canary" not in caplog.text


def test_our_loggers_write_events_and_withhold_everything_else(caplog: pytest.LogCaptureFixture) -> None:
    logger = event_logger("ehr.transport.test")
    caplog.set_level(logging.DEBUG, "ehr.transport.test")
    logger.warning("patient %s", "Canary")
    log_event(logger, "page.read", kind="Condition", status=200, count=7, duration_s=0.25, level=logging.INFO)
    log_event(logger, "page.read", kind=CANARY)
    log_event(logger, "page.read", provider="epic r4", request=1234)
    log_event(logger, "page.read", provider=CANARY)
    assert [record.getMessage() for record in caplog.records] == [
        WITHHELD,
        "page.read type=Condition status=200 count=7 duration=0.250s",
        "page.read type=-",
        "page.read provider=epic-r4 request=1234",
        "page.read provider=-",
    ]
    assert "Canary" not in caplog.text


def test_opening_a_transport_puts_the_filters_in_place() -> None:
    loggers = [logging.getLogger(name) for name in ("httpx", "httpcore.http11", "aiohttp.client")]
    for logger in loggers:
        logger.filters.clear()
    Transport("https://fhir.example.org")
    assert all(len(logger.filters) == 1 for logger in loggers)


@given(st.text())
def test_only_plain_words_are_words(text: str) -> None:
    shown = word(text)
    assert shown in {text, "-"}
    if shown != "-":
        assert not set(shown) & set(" /?&=:@%'\"\n") and len(shown) <= 40


@pytest.mark.parametrize("text", ["Patient/12345", "MRN12345", "1987-02-20", "a@b.example", "x" * 41, ""])
def test_ids_dates_and_addresses_are_no_words(text: str) -> None:
    assert word(text) == "-"
