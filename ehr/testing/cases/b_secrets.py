"""B. OAuth and tokens: where secrets and vendor headers may appear, and where not."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

from ehr.errors import EHRError
from ehr.records.fetched import State
from ehr.sandbox.faults import Fault, NextLink, When
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect
from ehr.testing.server import said
from ehr.testing.synthetic import ANA, condition, procedures
from ehr.testing.walk import heard, reachable

TOKEN = "Canarytoken-4b8f0c2e"  # noqa: S105 - invented; the case looks for it
_REFUSAL = {"error": "invalid_client", "error_description": f"the token {TOKEN} is not known"}


@case(38, needs=needs.signed_login)
async def auth_secret_never_in_repr_log_exception_pickle(context: CaseContext) -> None:
    """No token, assertion or key appears in a text form, a log line, an exception or a pickle."""
    context.ehr.gives(TOKEN)
    context.people(condition("c1"))
    texts: list[str] = []
    with heard(logging.DEBUG) as lines:
        async with context.open() as site:
            equal((await site.conditions(ANA)).state, State.OK, "state of the conditions")
            texts += _shown(site)
        context.ehr.says(context.ehr.skin.token_path, lambda _: said(_REFUSAL, 401))
        async with context.open() as site:
            try:
                await site.conditions(ANA)
            except EHRError as error:
                texts += [*traceback.format_exception(error), repr(error), repr(pickle.dumps(error))]
        texts += lines
    used = [one.headers.get("authorization", "") for one in context.ehr.data()]
    expect(f"Bearer {TOKEN}" in used, "the token of the script was not used")
    for name, secret in _secrets(context):
        expect(not any(secret in text for text in texts), f"{name} appears in a text form, log or pickle")


def _shown(root: object) -> Iterator[str]:
    for thing in reachable(root):
        yield from (repr(thing), str(thing))
        try:
            yield repr(pickle.dumps(thing))
        except Exception:  # noqa: BLE001, S112 - refusing is right, in whatever way
            continue


def _secrets(context: CaseContext) -> Iterator[tuple[str, str]]:
    yield "the access token", TOKEN
    key = context.key_file.read_text(encoding="ascii").splitlines()
    yield from (("the private key", line) for line in key if not line.startswith("---") and len(line) > 40)
    yield from (("an assertion", login.form["client_assertion"]) for login in context.ehr.logins())


def _carried(context: CaseContext, name: str) -> list[bool]:
    return [name.lower() in one.headers for one in context.ehr.data()]


@case(39, needs=needs.extra_headers)
async def auth_provider_header_present_and_only_when_allowed(context: CaseContext) -> None:
    """A vendor's header is on every request to the EHR, in the logins that want it, and goes nowhere else."""
    context.people(*procedures(5))
    context.ehr.reskin(paging={"default_count": 2, "max_count": 2})
    values: dict[str, Any] = dict(context.harness.settings.get("headers", {}))
    async with context.open() as site:
        equal((await site.procedures(ANA)).state, State.OK, "state over several pages")
        for header in context.profile.extra_headers:
            wanted = context.mode in header.modes and header.setting in values
            equal(set(_carried(context, header.name)), {wanted}, f"{header.name} on requests to the EHR")
            sent = {one.headers.get(header.name.lower()) for one in context.ehr.data()}
            expect(not wanted or sent == {values[header.setting]}, f"{header.name} has another value")
        context.ehr.fails(
            Fault(NextLink("foreign", context.elsewhere.origin), When(resource_type="Procedure"))
        )
        expect(not (await site.procedures(ANA)).complete, "a foreign next link was followed, or passed over")
    context.nothing_went_elsewhere()


@case(40, needs=needs.practice_session)
async def auth_nextgen_site_id_and_session_header_flow(context: CaseContext) -> None:
    """The token request names the site; the session header that comes back is on every later request."""
    context.people(condition("c1"))
    equal((await context.conditions()).state, State.OK, "state of the conditions")
    expect(all("site_id" in login.form for login in context.ehr.logins()), "a token request without site_id")
    (header,) = [one for one in context.profile.extra_headers if "session" in one.name.lower()]
    equal(set(_carried(context, header.name)), {True}, f"{header.name} on requests to the EHR")
