"""What a person sees at the authorization endpoint: who asks, for what, and two buttons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ehr.sandbox.apps import Consent
from ehr.sandbox.messages import Answer
from ehr.sandbox.scopes import AllowedScope, parse_scope

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_STYLE = """
body { font: 17px/1.5 system-ui, sans-serif; color: #1c2733; background: #eef1f4; margin: 0; }
main { max-width: 36rem; margin: 8vh auto; padding: 2rem 2.5rem; background: #fff; border-radius: 8px; }
h1 { font-size: 1.4rem; margin: 0; }
.who { color: #52606d; margin: 0 0 1rem; }
ul { padding-left: 1.2rem; }
select { font: inherit; width: 100%; padding: .4rem; margin: .3rem 0 1rem; }
button { font: inherit; padding: .6rem 1.4rem; border-radius: 6px; border: 1px solid #52606d; background: #fff;
  margin-right: .6rem; cursor: pointer; }
button.yes { background: #1f5f99; border-color: #1f5f99; color: #fff; }
button:focus-visible, select:focus-visible { outline: 3px solid #f0a500; outline-offset: 2px; }
.types { color: #3e4c59; font-size: .95rem; }
.note { color: #52606d; font-size: .9rem; margin-top: 1.5rem; }
"""
_OTHER = {
    "launch/patient": "know which patient you choose",
    "openid": "know who you are",
    "fhirUser": "know who you are",
    "profile": "know who you are",
    "offline_access": "stay logged in when you have gone",
    "online_access": "stay logged in while you are here",
}
_WHOSE = {"patient": "of the patient you choose", "user": "that you may see", "system": "of everybody"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A patient who can be picked."""

    id: str
    label: str


def consent_page(title: str, consent: Consent, patients: Sequence[Choice], ticket: str) -> Answer:
    """The page that asks.

    Args:
        title: of the EHR.
        consent: what would be agreed to.
        patients: to pick one from; none where the login is not for one patient.
        ticket: names this request once; without it nothing can be agreed to.
    """
    wishes = "".join(f"<li>{wish}</li>" for wish in _wishes(consent.scopes))
    options = "".join(f'<option value="{escape(one.id)}">{escape(one.label)}</option>' for one in patients)
    picker = f'<label>Patient <select name="patient">{options}</select></label>' if patients else ""
    return _page(
        title,
        f'<h1><span id="app">{escape(consent.client_id)}</span> wants to</h1><ul>{wishes}</ul>'
        f'<form method="post"><input type="hidden" name="ticket" value="{escape(ticket)}">{picker}'
        '<button class="yes" name="decision" value="allow">Allow</button>'
        '<button name="decision" value="deny">Deny</button></form>',
        200,
    )


def refusal_page(title: str) -> Answer:
    """The page for a request whose sender or way back is not registered, or that was answered before."""
    return _page(
        title,
        "<h1>This login cannot go on</h1><p>The application or the address it wants to come back to is not "
        "registered here, or the request was answered before. Nothing was given.</p>",
        400,
    )


def _page(title: str, body: str, status: int) -> Answer:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: sandbox login</title><style>{_STYLE}</style></head><body><main>"
        f'<p class="who">{escape(title)} sandbox</p>{body}'
        '<p class="note">A sandbox on this machine. Everybody in it is invented; there is no password.</p>'
        "</main></body></html>"
    )
    return Answer(status, text.encode(), "text/html; charset=utf-8", dict(PAGE_HEADERS))


def _wishes(words: Sequence[str]) -> list[str]:
    """What is asked for, one line for each kind of right; HTML."""
    types: dict[str, list[str]] = defaultdict(list)
    other: dict[str, None] = {}
    for word in words:
        scope = parse_scope(word)
        if scope is None:
            other[_OTHER.get(word, word)] = None
        else:
            types[_deeds(scope)].append(scope.resource_type)
    lines = [f"{deeds}{_listed(names)}" for deeds, names in types.items()]
    return [*lines, *map(escape, other)]


def _deeds(scope: AllowedScope) -> str:
    deeds = [deed for letters, deed in (("rs", "read"), ("cud", "change")) if scope.rights & set(letters)]
    return f"{' and '.join(deeds)} records {_WHOSE[scope.context]}"


def _listed(names: Sequence[str]) -> str:
    if "*" in names:
        return ", of every type"
    return f': <span class="types">{escape(", ".join(names))}</span>'
