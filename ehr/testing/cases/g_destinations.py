"""G. Destination security: where tokens and requests go, and what is too much to read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from ehr.errors import ConnectionFailed, EHRError
from ehr.files.settings import SiteFile
from ehr.records.care import Attachment, DocumentContent
from ehr.records.fetched import Fetched, State
from ehr.records.patient import DocumentReference
from ehr.sandbox.faults import Body, Fault, Oversize, Status, When
from ehr.site import open_site_async
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect, raises
from ehr.testing.server import searchset
from ehr.testing.synthetic import ANA, ids, procedure, procedures
from ehr.transport.settings import Limits

TYPE = "Procedure"
METADATA = "http://169.254.169.254/latest/meta-data/"


async def through(context: CaseContext, link: str) -> Fetched[Any]:
    """The procedures, whose first page has this next link."""
    (one,) = context.dressed(procedure("p1"))
    context.ehr.requests.clear()
    context.ehr.says(TYPE, lambda _: searchset(one, next=link))
    return await context.procedures()


async def refused(context: CaseContext, links: Iterable[str]) -> None:
    """None of the links is followed, and the collection says that it is not all."""
    for number, link in enumerate(links):
        found = await through(context, link)
        expect(not found.complete, f"hostile link {number + 1} was passed over in silence")
        equal(ids(found.items), ["p1"], f"what was read before hostile link {number + 1}")
        searches = [one for one in context.ehr.data() if TYPE in one.path or "admin" in one.path]
        first = len({dict(one.params).get("category") for one in searches})
        equal(len(searches), first, f"requests with hostile link {number + 1}")
        context.nothing_went_elsewhere()


@case(124)
async def sec_token_not_sent_to_other_host_port_scheme(context: CaseContext) -> None:
    """A link to another host, port or scheme is not followed, with or without the token."""
    base, elsewhere = context.ehr.base_url, context.elsewhere.origin
    path = f"{context.ehr.skin.fhir_path}/{TYPE}?page=2"
    host = context.ehr.origin.partition("://")[2].partition(":")[0]
    links = [
        f"{elsewhere}{path}",
        f"{base.replace('https:', 'http:')}/{TYPE}?page=2",
        f"https://{host}:9{path}",
        f"//{elsewhere.partition('://')[2]}{path}",
    ]
    await refused(context, links)


@case(125)
async def sec_base_url_as_substring_in_foreign_url_blocked(context: CaseContext) -> None:
    """A foreign address that contains our base somewhere is a foreign address."""
    base, elsewhere = context.ehr.base_url, context.elsewhere.origin
    host = context.ehr.origin.partition("://")[2]
    links = [
        f"{elsewhere}/x?y={base}/{TYPE}",
        f"{elsewhere}/{base}/{TYPE}",
        f"{elsewhere}#{base}/{TYPE}",
        f"https://{host.partition(':')[0]}.elsewhere.example/{TYPE}",
    ]
    await refused(context, links)


@case(126)
async def sec_userinfo_encoded_dot_backslash_urls_blocked(context: CaseContext) -> None:
    """An address that two readers could read in two ways is refused."""
    base, origin = context.ehr.base_url, context.ehr.origin
    foreign = context.elsewhere.origin.partition("://")[2]
    links = [
        f"https://{origin.partition('://')[2]}@{foreign}/{TYPE}",
        f"https://user:word@{base.partition('://')[2]}/{TYPE}",
        f"{base}/%2e%2e/admin",
        f"{base}/..%2fadmin",
        f"{base}/../admin",
        f"{base}/%252e%252e/admin",
        f"{base}\\..\\admin",
        f"https:\\\\{foreign}\\{TYPE}",
        f"{base}/{TYPE}\r\nX-Injected: 1",
        f"{base};@{foreign}/{TYPE}",
    ]
    await refused(context, links)


@case(127)
async def sec_redirects_not_followed_headers_not_leaked(context: CaseContext) -> None:
    """A redirect is an answer, not an instruction: neither token nor header follows it."""
    context.people(*procedures(2))
    target = f"{context.elsewhere.base_url}/{TYPE}"
    for status in (301, 302, 303, 307, 308):
        context.ehr.fails(Fault(Status(status, location=target), When(resource_type=TYPE)))
        found = await context.procedures()
        expect(not found.complete, f"HTTP {status} reads as {found.state.name}")
    if context.ehr.login:
        context.ehr.fails(Fault(Status(307, location=target), When(endpoint="token")))
        async with context.open() as site:
            with raises(EHRError, "a token endpoint that redirects"):
                await site.procedures(ANA)
    context.nothing_went_elsewhere()


@case(128)
async def sec_private_and_metadata_addresses_blocked_for_attachments(context: CaseContext) -> None:
    """An attachment that points to another machine is not fetched: not from the cloud's metadata, not from inside."""
    context.people()
    addresses = [
        METADATA,
        "https://169.254.169.254/latest/",
        "https://[::ffff:169.254.169.254]/",
        "http://localhost/",
        "https://10.0.0.1/x.pdf",
        f"{context.elsewhere.origin}/x.pdf",
        "file:///etc/hostname",
    ]
    async with context.open() as site:
        for number, url in enumerate(addresses):
            content = DocumentContent(attachment=Attachment(content_type="application/pdf", url=url))
            document = DocumentReference(id=f"d{number}", status="current", content=(content,))
            with raises(EHRError, f"attachment {number + 1} on another machine"):
                async with site.adapter.open_document(document) as stream:
                    [piece async for piece in stream]
    context.nothing_went_elsewhere()


@case(129, on=("socket",))
async def sec_tls_verification_cannot_be_disabled(context: CaseContext) -> None:
    """A certificate of an unknown authority is refused, and no setting changes that."""
    context.people()
    around = replace(context.surroundings, wire=None)
    settings = context.settings()
    with raises(ConnectionFailed, "an unknown authority"):
        async with open_site_async(SiteFile.model_validate(settings), around):
            pass
    equal(len(context.ehr.requests), 0, "requests to a server that was not verified")
    for key in ("verify", "verify_tls", "insecure", "tls_verify", "ssl_verify", "check_hostname"):
        off: Any = {key: False}
        with raises(ValidationError, f"a setting {key}"):
            SiteFile.model_validate(context.settings(**off))
    known = SiteFile.model_validate(context.settings(ca_file=str(context.ca_file)))
    async with open_site_async(known, around) as site:
        equal((await site.procedures(ANA)).state, State.EMPTY, "state with the authority in the pod file")


@case(130, on=("socket",))
async def sec_oversize_and_compression_bomb_stopped_streaming(context: CaseContext) -> None:
    """A body that is too long, or unpacks to something too long, is stopped while it is read."""
    context.limits = Limits(json_bytes=256 * 1024)
    context.people(*procedures(1))
    for packed in (False, True):
        context.ehr.fails(Fault(Oversize(2 * 1024 * 1024, packed=packed), When(resource_type=TYPE)))
        found = await context.procedures()
        expect(not found.complete and not found.items, f"a body that is too long reads as {found.state.name}")
        context.ehr.fails()
        equal((await context.procedures()).state, State.OK, "state of the next answer")


@case(131)
async def sec_deep_json_and_huge_entry_count_stopped(context: CaseContext) -> None:
    """JSON that is too deep, or has too many entries, is refused, and the program goes on."""
    context.limits = Limits(entries=20)
    context.people(*procedures(2))
    context.ehr.fails(Fault(Body("deep"), When(resource_type=TYPE)))
    async with context.open() as site:
        deep = await site.procedures(ANA)
        expect(not deep.complete, f"deep JSON reads as {deep.state.name}")
        context.ehr.fails()
        many = searchset(*context.dressed(*procedures(21)))
        context.ehr.says(TYPE, lambda _: many)
        long = await site.procedures(ANA)
        expect(not long.complete, f"too many entries read as {long.state.name}")
