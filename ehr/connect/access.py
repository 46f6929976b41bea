"""Which way to log in ``pod.yaml`` names, ready to be used."""

from __future__ import annotations

from importlib import import_module

from ehr.auth.discovery import Endpoints, discover
from ehr.auth.external import Anonymous, ExternalCallable, GetToken
from ehr.auth.scopes import wanted_scopes
from ehr.auth.signed_jwt import BackendJWT
from ehr.connect.opening import LoginMethod, Place, scope_style, signing_keys, types_asked_for
from ehr.connect.person import browser_access
from ehr.errors import ConfigurationError
from ehr.files.settings import Backend
from ehr.transport.client import Transport


async def access_to(place: Place, transport: Transport) -> LoginMethod:
    """The way to log in that the settings name; a person is asked only where there is one and it is needed.

    Raises:
        ConfigurationError: a key, a secret or what the server announces is wrong.
        AuthError: the person's login was refused, or the store of logins cannot be read.
        TransportError: the server could not be asked where to log in.
    """
    auth = place.file.ehr.auth
    if auth.external is not None:
        get_token = _callable(auth.external.callable)
        return LoginMethod(
            Endpoints(), ExternalCallable(get_token, place.profile.token_life_s, auth.external.scope)
        )
    if auth.backend is not None:
        return await _backend(place, auth.backend, transport)
    if auth.browser is not None:
        return await browser_access(place, transport)
    return LoginMethod(Endpoints(), Anonymous())


async def _backend(place: Place, backend: Backend, transport: Transport) -> LoginMethod:
    keys = signing_keys(place, backend.keys)
    endpoints = await discover(transport, place.file.ehr.base_url, token_url=backend.token_url)
    scope = backend.scope
    if scope is None and place.profile.scope_required:
        scope = wanted_scopes(types_asked_for(place), scope_style(place, endpoints))
    source = BackendJWT(
        client_id=backend.client_id,
        token_url=endpoints.token_url or "",
        keys=keys,
        wanted_scope=scope,
        now=transport.clock.now,
        life_s=place.profile.token_life_s,
    )
    return LoginMethod(endpoints, source)


def _callable(name: str) -> GetToken:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - the site's own module may raise anything
        raise ConfigurationError(
            f"auth.external.callable cannot be imported ({type(error).__name__})."
        ) from None
    if not callable(found):
        raise ConfigurationError("auth.external.callable is not callable.")
    return found  # type: ignore[no-any-return]  # what it returns is checked when it is called
