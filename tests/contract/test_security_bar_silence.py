"""The security bar, S8, S22 and S23: what no text form, pickle, exception or log may hold."""

from __future__ import annotations

import ast
import asyncio
import functools
import gc
import io
import logging
import pickle
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr import errors
from ehr.auth.authenticator import Authenticator
from ehr.auth.external import ExternalCallable
from ehr.auth.keys import KeyRing
from ehr.auth.tokens import Token
from ehr.errors import EHRError
from ehr.people.identity import Person
from ehr.records.patient import PatientRef
from ehr.site import ClockAndWire, open_site_async
from ehr.transport.client import ClientCertificate, Limits, Transport
from ehr.transport.redact import event_logger
from tests.contract.secret_classes import CANARY, classes, filled, shapes
from tests.contract.wire import TOKEN, Answer, condition, in_turn, page, said, token, wired
from tests.ehr.auth.login import key, source
from tests.ehr.site_folder import SECRET, Folder
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import answer
from tests.repository.sources import ROOT, python_files, shown, tree

SETTINGS = "settings of the site; secrets are named in them and never written"
OURS = "words of ours"
SERVER = "what the server says about itself"
SHOWN = {
    **dict.fromkeys(("auth.external.Anonymous", "auth.scopes.Scope", "config.EHRConfig"), SETTINGS),
    **dict.fromkeys(
        ("config.ExtraHeader", "config.ProviderProfile", "providers.adapter.CohortRef"), SETTINGS
    ),
    **dict.fromkeys(
        ("transport.foreign.ForeignHost", "transport.settings.Limits", "connect.opening.Surroundings"),
        SETTINGS,
    ),
    **dict.fromkeys(
        (
            "files.yaml_nodes.Table",
            "files.yaml_nodes.Text",
            "files.yaml_nodes._Builder",
            "files.yaml_nodes._Open",
        ),
        SETTINGS,
    ),
    **dict.fromkeys(
        ("auth.discovery.Endpoints", "fhir.capability.Capability", "providers.adapter.ServerInfo"), SERVER
    ),
    **dict.fromkeys(
        (
            "reading.cohort.Reading",
            "records.fetched.Issue",
            "people.matching.Assessment",
            "files.problems.Problem",
        ),
        OURS,
    ),
    **dict.fromkeys(
        ("providers.adapter.Support", "providers.probe.Check", "providers.probe.ProbeReport"), OURS
    ),
    **dict.fromkeys(
        ("transport.client._Treatment", "transport.exchange.Plan"), "the name of an endpoint class"
    ),
    **dict.fromkeys(
        ("transport.exchange.Exchange", "transport.rate.HostRate", "transport.rate.Rates"), "counters"
    ),
    "connect.person.LoginReport": "the provider's words and kinds",
    "reading.query.QueryResult": "the provider's words; its parts are silent",
    "transport.body._Envelope": "entries that hold nothing",
    "transport.download.Download": "the status",
    "transport.download.Written": "a hash",
    "transport.origin.Origin": "the scheme",
}
"""Classes whose text form shows a text that they hold, and why that may be."""


def test_s08_s22_no_text_form_of_any_class_shows_what_it_holds() -> None:
    showing = {
        f"{kind.__module__}.{kind.__qualname__}".removeprefix("ehr.")
        for kind in classes()
        for made in filled(kind)
        if any(CANARY in text for _, text in shapes(made))
    }
    assert len(classes()) > 150
    assert showing == set(SHOWN)


def test_s08_a_shown_canary_is_noticed() -> None:
    assert [word for word, text in shapes([CANARY]) if CANARY in text]


def _given(secret: str) -> tuple[str, float]:
    return secret, 60.0


def _logged_in() -> Authenticator:
    made = Authenticator(source("https://ehr.example/token"), monotonic=lambda: 0.0)
    made._token = Token(CANARY, 60)
    return made


@pytest.mark.parametrize(
    "make",
    [
        lambda: Token(CANARY, 60),
        lambda: key(),
        lambda: KeyRing((key(),)),
        lambda: source("https://ehr.example/token"),
        lambda: _logged_in(),
        lambda: ExternalCallable(functools.partial(_given, CANARY)),
        lambda: ClientCertificate(Path("c.pem"), password=CANARY),
    ],
)
def test_s08_what_holds_a_secret_is_never_pickled(make: Callable[[], Any]) -> None:
    made = make()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(made, protocol)


async def test_s08_s24_a_site_and_its_results_do_not_carry_the_key_away(tmp_path: Path) -> None:
    async with wired() as ehr:
        config = Folder(tmp_path / "site").write(ehr.base)
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            result = await site.query([Person(id="ana")], ["conditions"])
            with pytest.raises(TypeError):
                pickle.dumps(site)
            with pytest.raises(TypeError):
                pickle.dumps(result)
            for text in (repr(site), repr(result), site._repr_html_(), result._repr_html_()):
                assert SECRET.decode() not in text


def _error_classes() -> list[type[EHRError]]:
    found, left = [], [EHRError]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return sorted(set(found), key=lambda kind: kind.__name__)


def _error(kind: type[EHRError]) -> EHRError:
    made = kind.__new__(kind)
    Exception.__init__(made, "our own sentence")
    vars(made).update(debug_detail=CANARY)
    return made


@pytest.mark.parametrize("kind", _error_classes())
def test_s23_no_error_shows_or_pickles_the_server_s_words(kind: type[EHRError]) -> None:
    error = _error(kind)
    texts = [repr(error), str(error), f"{error}", str(error.args), *traceback.format_exception(error)]
    assert not [text for text in texts if CANARY in text]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is kind
        assert CANARY.encode() not in pickle.dumps(error, protocol)


def test_s23_every_class_of_the_tree_is_tried() -> None:
    defined = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, EHRError)
    }
    assert defined <= set(_error_classes())


def _raises_in_handlers(module: ast.Module) -> Iterator[ast.Raise]:
    for handler in ast.walk(module):
        if isinstance(handler, ast.ExceptHandler):
            yield from (node for node in _own(handler) if isinstance(node, ast.Raise))


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below, not looking into nested functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _own(child)


def test_s23_an_error_that_follows_another_hides_it() -> None:
    """`logging.exception` prints whole chains: a library's error may name a URL, a value or a file."""
    open_chains = [
        f"{shown(file)}:{node.lineno}"
        for file in python_files("ehr")
        if not {"sandbox", "testing"} & set(file.parts)
        for node in _raises_in_handlers(tree(file))
        if node.exc is not None
        and not (isinstance(node.cause, ast.Constant) and node.cause.value is None)
        and not (isinstance(node.exc, ast.Name))
    ]
    assert open_chains == []
    assert (ROOT / "ehr").is_dir()


SECRETS = (
    TOKEN,
    "Canaryfamily",
    "Canarygiven",
    "1950-02-03",
    "M-4711",
    "Canarywords",
    "client_assertion",
    "eyJ",
)
PERSON = Person(family="Canaryfamily", given="Canarygiven", birth_date="1950-02-03", mrn="M-4711")
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "Canarywords", "diagnostics": "Canarywords"}],
}
CUT = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCanarywords\r\n"
NAMED = {"name": "Canaryfamily"}
NO = "401 No"
BROKEN: dict[str, dict[str, Answer]] = {
    "refused": {
        "token": lambda _: said({"error": "invalid_client", "error_description": "Canarywords"}, "400 No")
    },
    "no token": {"token": lambda _: said({"error": "Canarywords"}, "200 OK")},
    "html": {"Condition": lambda _: answer(b"<html>Canarywords</html>", kind="text/html")},
    "cut": {"Condition": lambda _: CUT},
    "not JSON": {"Condition": lambda _: answer(b'{"Canarywords": ')},
    "status": {
        "Condition": lambda _: said(OUTCOME, "400 Canarywords"),
        "_search": lambda _: said(OUTCOME, "500 No"),
    },
    "closed": {"Condition": lambda _: b""},
    "not HTTP": {
        "Condition": lambda _: b"Canarywords\r\n\r\n",
        "_search": lambda _: b"HTTP/1.1 999 Canarywords\r\n\r\n",
    },
    "bad header": {"Condition": lambda _: b"HTTP/1.1 200 OK\r\nCanarywords\r\n\r\n"},
    "wrong record": {
        "Condition": lambda _: page(condition() | {"code": "Canarywords", "onsetDateTime": "Canarywords"})
    },
    "link": {"Condition": lambda _: page(condition(), next="http://evil.example/?name=Canarywords")},
    "redirect": {
        "Condition": lambda _: said({}, "302 Canarywords", Location="http://evil.example/Canarywords")
    },
    "revoked": {
        "token": in_turn([token(), said({"error": "Canarywords"}, NO)]),
        "Condition": lambda _: said({}, NO),
    },
    "nothing": {},
}


class Everything(logging.Handler):
    """Writes every record of every logger, with its traceback and its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.text = io.StringIO()
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.text.write(self.format(record) + repr(record.args) + "\n")


@pytest.fixture
def everything() -> Iterator[Everything]:
    handler = Everything()
    root = logging.getLogger()
    before = root.level
    named = [logging.getLogger(name) for name in ("httpx", "httpcore", "aiohttp.client", "asyncio", "ehr")]
    levels = [one.level for one in named]
    root.addHandler(handler)
    for one in (root, *named):
        one.setLevel(1)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
    for one, level in zip(named, levels, strict=True):
        one.setLevel(level)


@pytest.mark.parametrize("fault", BROKEN)
async def test_s22_s23_no_log_warning_or_traceback_tells_anything(
    fault: str, everything: Everything, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """asyncio in debug mode, every logger at its lowest level, and `logging.exception` for what is raised."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    site_log = logging.getLogger("a.site.program")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with wired(**BROKEN[fault]) as ehr:
            try:
                config = Folder(tmp_path / "site").write(ehr.base)
                async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
                    result = await site.query([PERSON, Person(id="ana")], ["conditions", "medications"])
                    site_log.info("%r %r", result, result.readings)
                    client: Transport = site.adapter._parts.transport  # type: ignore[attr-defined]  # of the generic adapter
                    await client.request("GET", "Condition", params=NAMED, expect="any")
            except EHRError:
                site_log.exception("failed")
            gc.collect()
    loop.set_debug(False)
    own = [line for line in everything.text.getvalue().splitlines() if "tests/" not in line]
    written = "\n".join([*own, *(str(one.message) for one in warned), *capfd.readouterr()])
    assert [word for word in SECRETS if word in written] == []
    assert [str(one.message) for one in warned if issubclass(one.category, ResourceWarning)] == []


async def test_s23_a_chain_of_errors_holds_no_body_and_no_address(everything: Everything) -> None:
    bodies = (b"", b"HTTP/1.1 200 Canarywords\r\nContent-Length: x\r\n\r\n", answer(b"Canarywords"))
    for body in bodies:
        async with wired(Patient=lambda _, body=body: body) as ehr:  # type: ignore[misc]  # a default binds the value
            limits = Limits(attempts=1)
            async with Transport(ehr.base, allow_http_loopback=True, limits=limits) as client:
                with pytest.raises(EHRError) as failed:
                    await client.request("GET", "Patient", params=NAMED)
            logging.getLogger("a.site.program").error("failed", exc_info=failed.value)
            assert failed.value.__suppress_context__ and failed.value.__cause__ is None
    text = everything.text.getvalue()
    assert "failed" in text
    assert not [
        word for word in ("Canarywords", "Canaryfamily", "httpx.", "aiohttp.client_ex") if word in text
    ]


_EVENT = re.compile(
    r"ehr\.[a-z.]+ http\.(?:answered|failed)(?: provider=smarthealthit-r4)(?: request=\d+)(?: type=[A-Za-z]+)?"
    r"(?: status=\d{3})?(?: duration=\d+\.\d{3}s)\(?\)?"
)


async def test_s22_loggers_of_ours_say_events_and_nothing_else(
    everything: Everything, tmp_path: Path
) -> None:
    """Event, provider, request, type, status, duration: each line has that form and no other."""
    answers = in_turn([said({}, "503 No"), page(condition())])
    async with wired(Condition=answers) as ehr:
        config = Folder(tmp_path / "site").write(ehr.base)
        async with open_site_async(config, ClockAndWire(clock=FakeClock().clock)) as site:
            await site.conditions(PatientRef("ana"))
            await site.observations(PatientRef("ana"))
    ours = [line for line in everything.text.getvalue().splitlines() if line.startswith("ehr.")]
    assert [line for line in ours if not _EVENT.fullmatch(line)] == []
    conditions = [line.split() for line in ours if "type=Condition" in line]
    assert [line[5] for line in conditions] == ["status=503", "status=200"]
    assert conditions[0][3] == conditions[1][3]  # a repetition is the same request
    requests = [line.split()[3] for line in ours if "status=200" in line]
    assert len(set(requests)) == len(requests)


async def test_s22_what_else_is_written_to_our_loggers_is_withheld(everything: Everything) -> None:
    event_logger("ehr.transport")
    logging.getLogger("ehr.transport").warning("Patient Canaryfamily at %s", "http://x/?name=Canaryfamily")
    ours = [line for line in everything.text.getvalue().splitlines() if line.startswith("ehr.")]
    assert ours and not [line for line in ours if "Canary" in line or "/" in line]
