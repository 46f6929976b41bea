"""A person's login with a browser: what it needs, the login itself, and what it gave."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ehr.auth.browser import Issuer, Launch, OneGrant
from ehr.auth.client_proof import Client, secret_place
from ehr.auth.discovery import Endpoints, discover
from ehr.auth.redirect import listening
from ehr.auth.renewal import BrowserLogin, login_of
from ehr.auth.revocation import Revocation
from ehr.auth.scopes import missing_types, parse_scopes, translated, wanted_scopes
from ehr.auth.store import InMemory, Keeper, SealedStore, StoredLogin
from ehr.auth.tokens import Silent
from ehr.connect.opening import (
    AtKeyboard,
    ClockAndWire,
    LoginMethod,
    Place,
    check_settings,
    scope_style,
    signing_keys,
    transport_of,
    types_asked_for,
)
from ehr.connect.store_key import store_secret
from ehr.errors import ConfigurationError, EHRError
from ehr.files.pod_file import read_site_file, secret_bytes
from ehr.files.settings import Browser
from ehr.records.patient import RESOURCES, Kind
from ehr.transport.client import Transport


@dataclass(frozen=True, slots=True, repr=False)
class LoginSetup(Silent):
    """Everything that a login with a browser at one EHR needs.

    Args:
        client: the application.
        endpoints: of the authorization server.
        issuer: who may answer a login.
        keeper: where the login is kept.
        scope: what is asked for.
        port: where the answer is listened for; 0 takes a free one.
        life_s: assumed life of a token whose answer has no ``expires_in``.
        audience: FHIR base.
    """

    client: Client
    endpoints: Endpoints
    issuer: Issuer
    keeper: Keeper
    scope: str
    port: int
    life_s: float
    audience: str
    called = "what a login needs"

    def launch(self, redirect_uri: str) -> Launch:
        """A fresh attempt."""
        return Launch(self.client, self.endpoints, self.issuer, redirect_uri, self.scope, self.audience)


async def browser_access(place: Place, transport: Transport) -> LoginMethod:
    """The way in for a site that logs in with a browser; see `ehr.connect.access.access_to`."""
    setup = await login_setup(place, transport)
    person = place.surroundings.person
    if person is not None and not setup.keeper.lasts:
        await log_in(setup, transport, person)
    client, keeper = setup.client, setup.keeper
    source = BrowserLogin(client, setup.endpoints.token_url or "", keeper, client.now, setup.life_s)
    return LoginMethod(setup.endpoints, source, keeper.turn)


async def login_setup(place: Place, transport: Transport, keeper: Keeper | None = None) -> LoginSetup:
    """Find out what a login needs; asks the server for its endpoints, and perhaps the person for a passphrase.

    Args:
        place: see `Place`.
        transport: pinned to the FHIR base.
        keeper: where the login is kept, if that is open already.

    Raises:
        ConfigurationError: a setting, a secret or what the server announces is wrong.
        LoginNotKept: the store of logins cannot be read.
        TransportError: the server could not be asked.
    """
    section, browser = place.file.ehr, _settings(place)
    endpoints = await discover(
        transport, section.base_url, token_url=browser.token_url, authorize_url=browser.authorize_url
    )
    keeper = keeper or await _keeper(place, browser)
    return LoginSetup(
        client=_client(place, browser, endpoints, transport),
        endpoints=endpoints,
        issuer=Issuer(
            browser.issuer or endpoints.issuer, endpoints.states_issuer, endpoints.authorize_url or ""
        ),
        keeper=keeper,
        scope=_scope(place, browser, endpoints, lasts=keeper.lasts),
        port=browser.redirect_port,
        life_s=place.profile.token_life_s,
        audience=section.base_url.rstrip("/"),
    )


async def log_in(setup: LoginSetup, transport: Transport, person: AtKeyboard) -> StoredLogin:
    """Let a person log in, and keep what came.

    Raises:
        LoginRefused: the person or the server said no, the answer is not to be trusted, or none came in time.
        LoginNotKept: what came could not be kept.
        TransportError: the token endpoint gave no usable answer.
    """
    launches: list[Launch] = []
    async with listening(setup.port, lambda query: launches[0].code(query)) as redirect:
        launches.append(setup.launch(redirect.uri))
        await asyncio.to_thread(person.show, launches[0].address())
        code = await redirect.wait(person.wait_s)
    grant = OneGrant(launches[0].exchange(code, setup.life_s))
    await transport.request("GET", "metadata", auth=grant, expect="any")
    assert grant.granted is not None
    login = login_of(grant.granted, grant.token_url, setup.scope, setup.client.now())
    async with setup.keeper.turn():
        setup.keeper.write(login)
    return login


def _client(place: Place, browser: Browser, endpoints: Endpoints, transport: Transport) -> Client:
    secret = None
    if browser.client_secret is not None:
        held = secret_bytes(browser.client_secret, place.folder, "auth.browser.client_secret")
        secret = held.decode("utf-8", "replace")
        if not secret or not secret.isprintable():
            raise ConfigurationError("auth.browser.client_secret: is empty, or is no single line of text.")
    return Client(
        client_id=browser.client_id,
        now=transport.clock.now,
        secret=secret,
        sent_in=secret_place(endpoints.auth_methods),
        keys=None if browser.keys is None else signing_keys(place, browser.keys),
    )


async def _keeper(place: Place, browser: Browser) -> Keeper:
    if browser.store is None:
        return InMemory()
    path = place.folder / browser.store.file
    person = place.surroundings.person
    account = f"{browser.client_id} {place.file.ehr.base_url.rstrip('/')}"

    def opened() -> Keeper:  # a person is asked, and the key takes a tenth of a second to make
        assert browser.store is not None
        secret = store_secret(browser.store.key, path, place.folder, None if person is None else person.ask)
        store = SealedStore(path, secret, account)
        store.read()
        return store

    return await asyncio.to_thread(opened)


def _scope(place: Place, browser: Browser, endpoints: Endpoints, *, lasts: bool) -> str:
    style = scope_style(place, endpoints)
    if browser.scope is not None:
        said = endpoints.capabilities & {"permission-v1", "permission-v2"}
        sure = place.profile.scope_style != "either" or len(said) == 1
        return translated(browser.scope, style) if sure else browser.scope
    words = [wanted_scopes(types_asked_for(place), style, browser.context)]
    if browser.context == "patient":
        words.insert(0, "launch/patient")
    words.append("offline_access" if lasts else "online_access")
    return " ".join(words)


async def log_in_at(config: Path, surroundings: ClockAndWire, person: AtKeyboard) -> LoginReport:
    """Let a person log in at the EHR of a pod file; see `log_in`.

    Raises:
        ConfigurationError: the file or what the server announces is wrong.
    """
    place = _place(config, replace(surroundings, person=person))
    async with transport_of(place) as transport:
        setup = await login_setup(place, transport)
        login = await log_in(setup, transport, person)
        return report_of(place, login, kept=setup.keeper.lasts)


async def log_out_at(config: Path, surroundings: ClockAndWire) -> bool | None:
    """Forget the kept login, and tell the server where it has a place for that (RFC 7009).

    Returns:
        Whether the server was told; None where nobody was logged in.

    Raises:
        ConfigurationError: the file is wrong, or keeps no logins.
        LoginNotKept: the store cannot be read or written.
    """
    place = _place(config, surroundings)
    keeper = await _keeper(place, _settings(place))
    if not keeper.lasts:
        raise ConfigurationError("auth.browser has no store, so no login is kept that could be ended.")
    async with keeper.turn():
        login = keeper.read()
        keeper.write(None)
    if login is None:
        return None
    with suppress(EHRError):  # here it is over, whatever the server makes of it
        return await _revoked(place, keeper, login)
    return False


async def _revoked(place: Place, keeper: Keeper, login: StoredLogin) -> bool:
    async with transport_of(place) as transport:
        setup = await login_setup(place, transport, keeper)
        revoke = Revocation(setup.client, setup.endpoints.revocation_url, login)
        if revoke.token_url is not None:
            await transport.request("GET", "metadata", auth=revoke, expect="any")
        return revoke.done


def _place(config: Path, surroundings: ClockAndWire) -> Place:
    file = read_site_file(config)
    place = Place(file, surroundings.providers(file.ehr.provider).profile, config.parent, surroundings)
    check_settings(place)
    return place


def _settings(place: Place) -> Browser:
    browser = place.file.ehr.auth.browser
    if browser is None:
        raise ConfigurationError('the pod file has no "auth: browser", so nobody logs in with a browser.')
    return browser


@dataclass(frozen=True, slots=True)
class LoginReport:
    """What a login gave, without anything secret and without a patient.

    Args:
        provider: name of the provider.
        granted: kinds of record that may be read.
        missing: kinds that may not, with the resource types that were not granted.
        one_patient: the login is for one patient, chosen in the browser.
        renewable: it can be renewed without a person.
        kept: it outlives this command.
        life_s: seconds until a person or a renewal is needed.
    """

    provider: str
    granted: tuple[Kind, ...]
    missing: tuple[tuple[Kind, tuple[str, ...]], ...]
    one_patient: bool
    renewable: bool
    kept: bool
    life_s: float


def report_of(place: Place, login: StoredLogin, *, kept: bool) -> LoginReport:
    """What a login gave, kind by kind, of the kinds that the vendor has."""
    granted = parse_scopes(login.scope)
    known = set(place.profile.search_parameters)
    may: list[Kind] = []
    missing: list[tuple[Kind, tuple[str, ...]]] = []
    for kind in Kind:
        types = {resource.__name__ for resource in RESOURCES[kind]} & known
        gaps = missing_types(granted, types)
        if types and not gaps:
            may.append(kind)
        elif types:
            missing.append((kind, gaps))
    return LoginReport(
        provider=place.profile.name,
        granted=tuple(may),
        missing=tuple(missing),
        one_patient=login.patient is not None,
        renewable=login.refresh_token is not None,
        kept=kept,
        life_s=login.life_s,
    )
