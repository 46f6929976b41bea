"""Which profiles a case does not apply to, and why; said by the profile alone, never by hand."""

from __future__ import annotations

from collections.abc import Callable

from ehr.config import AuthMode, ProviderProfile
from ehr.fhir.outcome import TOO_MANY
from ehr.testing.case import Needs


def _need(reason: str, has: Callable[[ProviderProfile], bool]) -> Needs:
    return lambda profile: None if has(profile) else reason


def login(mode: AuthMode) -> Needs:
    """A way to log in."""
    return _need(f'the profile has no "{mode}" login', lambda profile: mode in profile.auth_modes)


def resource(*names: str) -> Needs:
    """Resource types that can be searched."""
    return _need(
        f"the profile does not offer {' and '.join(names)}",
        lambda profile: set(names) <= set(profile.search_parameters),
    )


def both(*needs: Needs) -> Needs:
    """All of them; the first that is missing is the reason."""
    return lambda profile: next((why for need in needs if (why := need(profile)) is not None), None)


signed_login = login("backend")
browser_login = login("browser")
no_scope = _need("the profile says that a scope is required", lambda p: not p.scope_required)
extra_headers = _need("the profile has no extra headers", lambda p: bool(p.extra_headers))
match_operation = _need("the profile has no $match operation", lambda p: p.match_operation)
post_search = _need("the profile has no search by POST", lambda p: p.post_search)
fan_out = _need("the profile requires no search parameter", lambda p: bool(p.fan_out))
too_many_code = _need(
    "the profile names no outcome for too many matches", lambda p: TOO_MANY in p.outcome_states.values()
)
inner_links = _need("the profile's next links stay on the base's origin", lambda p: p.next_link == "rewrite")
enterprise = _need("the profile has no second interface", lambda p: "enterprise_url" in p.required_settings)
practice_session = _need(
    "the profile has no header of a practice's session",
    lambda p: any("session" in header.name.lower() for header in p.extra_headers),
)
empty_is_quota = _need(
    "the profile does not read an empty body as a spent quota", lambda p: p.empty_body_is_quota
)
