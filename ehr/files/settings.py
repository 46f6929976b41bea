"""The parts of ``pod.yaml`` that describe one hospital's EHR: ``ehr``, ``site`` and ``cohort``.

The file is read by `ehr.site` (and whole by `federated.owner.config`); here are only its shape and its rules. A
secret is never written in it: it names a file or an environment variable.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import PurePath
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ehr.config import AuthMode

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
WORLD_KINDS = (
    "birth_date",
    "sex",
    "deceased",
    "condition",
    "procedure",
    "medication",
    "order",
    "allergy",
    "observation",
    "appointment",
    "encounter",
    "immunization",
    "document",
    "image",
    "column",
)
"""Kinds for which a site may say what silence means (docs/run-a-pod.md, "What silence means")."""

World = Literal["closed", "recorded", "open"]
WorldKind = Literal[*WORLD_KINDS]  # type: ignore[valid-type]  # made from the table of kinds


class Section(BaseModel):
    """A mapping of the file: unknown keys are refused, nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Secret(Section):
    """Where a secret is: exactly one of a file (owner-only) and an environment variable."""

    file: str | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError('give either "file" or "env"')
        return self


class Backend(Section):
    """Unattended login with a signed assertion (SMART backend services).

    Args:
        client_id: as registered with the EHR.
        keys: folder of a key ring ("trialveil ehr keys new") or one key file.
        scope: what to ask for; by default read rights on every type that the profile knows.
        token_url: the token endpoint, where discovery is wrong or missing.
    """

    client_id: str = Field(min_length=1)
    keys: str = Field(min_length=1)
    scope: str | None = None
    token_url: str | None = None


class StoreKey(Section):
    """What opens a store of logins: exactly one of these; it never lies beside the store.

    Args:
        file: owner-only file in another folder ("trialveil ehr keys store").
        env: environment variable.
        keyring: name of an entry in the operating system's keyring, where ``keyring`` is installed.
        passphrase: ``ask`` asks the person at the terminal.
    """

    file: str | None = None
    env: str | None = None
    keyring: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")
    passphrase: Literal["ask"] | None = None

    @model_validator(mode="after")
    def _one(self) -> StoreKey:
        if len([way for way in (self.file, self.env, self.keyring, self.passphrase) if way is not None]) != 1:
            raise ValueError('give exactly one of "file", "env", "keyring", "passphrase"')
        return self


class LoginStore(Section):
    """Where a person's login is kept between commands; useless without its key.

    Args:
        file: sealed file, beside the pod file unless a folder is named.
        key: see `StoreKey`.
    """

    file: str = Field(default="login.store", min_length=1)
    key: StoreKey


class Browser(Section):
    """A person logs in with a browser (SMART standalone launch, authorization code with PKCE).

    Args:
        client_id: as registered with the EHR.
        client_secret: where the secret of a confidential application is; a public one has none.
        keys: key ring or key file of an application that signs assertions instead.
        context: ``user`` reads what the person may read, ``patient`` the one patient chosen at the login.
        scope: what to ask for; by default read rights on every type that the profile knows.
        redirect_port: port of the address that the browser comes back to, ``http://127.0.0.1:PORT/callback``;
            0 takes a free one, where the EHR allows any.
        issuer: the authorization server's name for itself, where the EHR does not announce it.
        authorize_url, token_url: the endpoints, where discovery is wrong or missing.
        store: see `LoginStore`; without it a login ends with the command.
    """

    client_id: str = Field(min_length=1)
    client_secret: Secret | None = None
    keys: str | None = Field(default=None, min_length=1)
    context: Literal["user", "patient"] = "user"
    scope: str | None = None
    redirect_port: int = Field(default=0, ge=0, le=65_535)
    issuer: str | None = None
    authorize_url: str | None = None
    token_url: str | None = None
    store: LoginStore | None = None

    @model_validator(mode="after")
    def _one_proof(self) -> Browser:
        if self.client_secret is not None and self.keys is not None:
            raise ValueError('give "client_secret" or "keys", not both')
        return self


class External(Section):
    """Tokens from a Python callable of the site's own.

    Args:
        callable: ``module:function``; returns the token and the seconds until it expires.
        scope: what the token covers, if it is known.
    """

    callable: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    scope: str | None = None


class Nothing(Section):
    """No login."""


class Auth(Section):
    """How to log in: exactly one way."""

    backend: Backend | None = None
    external: External | None = None
    none: Nothing | None = None
    browser: Browser | None = None
    nextgen: dict[str, Any] | None = None
    nextech: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        given = self.model_fields_set
        if len(given) != 1:
            raise ValueError(f"give exactly one way to log in; found {len(given)}")
        later = given & {"nextgen", "nextech"}
        if later:
            raise ValueError(
                f'"{later.pop()}" is not part of this release; use "backend", "browser", "external" or "none"'
            )
        return self

    @property
    def mode(self) -> AuthMode:
        """Which way it is."""
        if self.backend is not None:
            return "backend"
        if self.browser is not None:
            return "browser"
        return "external" if self.external is not None else "none"


def _auth(value: object) -> object:
    # `auth: none` and `auth: {none: {}}` are one, and YAML's empty value stands for an empty mapping.
    if value == "none":
        return {"none": {}}
    if isinstance(value, dict):
        return {key: {} if part is None or part == "" else part for key, part in value.items()}
    return value


class Rate(Section):
    """The site's own limits; never above what the provider's profile allows, but for the rate to this very machine.

    Args:
        concurrency: patients, and requests, in flight.
        requests_per_s: to the EHR; for one on this machine, under ``allow_http: loopback``, whatever is said.
        daily_requests: to the EHR on one calendar day at the site; counted in the output folder.
    """

    concurrency: int | None = Field(default=None, ge=1, le=64)
    requests_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    daily_requests: int | None = Field(default=None, ge=1)


class EHRSection(Section):
    """``ehr:``: which EHR, where, and how to log in.

    Args:
        provider: see ``trialveil list`` and `ehr.config.EHRProvider`.
        base_url: FHIR base.
        enterprise_url, smart_on_fhir_url, smart_on_fhir_resource_server_url: NextGen only.
        auth: see `Auth`.
        allow_http: ``loopback`` lets an http address of this machine pass, for tests and sandboxes.
        ca_file: PEM file of a private certificate authority, added to the usual ones.
        validation: ``light`` reads what is needed; ``full`` checks each resource against the R4 models too.
        strict: True refuses entries that would need a repair.
        headers: values of vendor headers by the setting's name, such as ``client_id``.
        rate: see `Rate`.
        patient_seconds: deadline for one patient; what is not read by then is unavailable. Also how long a run waits
            for an EHR that fails again and again.
    """

    provider: str
    base_url: str = Field(min_length=1)
    enterprise_url: str | None = None
    smart_on_fhir_url: str | None = None
    smart_on_fhir_resource_server_url: str | None = None
    auth: Annotated[Auth, BeforeValidator(_auth)]
    allow_http: Literal["loopback"] | None = None
    ca_file: str | None = None
    validation: Literal["light", "full"] = "light"
    strict: bool = False
    headers: dict[str, str] = Field(default_factory=dict)
    rate: Rate = Rate()
    patient_seconds: float = Field(default=300, gt=0, le=86_400)


class SiteSection(Section):
    """``site:``: what the hospital knows about itself.

    Args:
        time_zone: IANA name; "today" and naive times are in it.
        key: secret of at least 32 bytes for pseudonyms; without it they cannot be linked between runs.
        care_since: first day of the record; silence before it is unknown.
        world: what silence means, per kind; see `WORLD_KINDS`.
        consent_complete: kinds that a trial's ``assume_complete`` may close here.
    """

    time_zone: str
    key: Secret
    care_since: date | None = None
    world: dict[WorldKind, World] = Field(default_factory=dict)
    consent_complete: tuple[WorldKind, ...] = ()

    @field_validator("care_since", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        # A bare number would be read as seconds since 1970.
        if isinstance(value, str) and not _DAY.fullmatch(value):
            raise ValueError("is not a date of the form YYYY-MM-DD")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is not an IANA time zone, such as Europe/London") from None
        return value


class CohortSection(Section):
    """``cohort:``: whose records are read: exactly one of a file, a Group and a List.

    Args:
        patients: CSV file, beside the pod file.
        group, list: logical id in the EHR.
    """

    patients: str | None = None
    group: str | None = None
    list: str | None = None

    @model_validator(mode="after")
    def _one(self) -> CohortSection:
        if len([part for part in (self.patients, self.group, self.list) if part is not None]) != 1:
            raise ValueError('give exactly one of "patients", "group", "list"')
        if self.patients is not None and PurePath(self.patients).suffix.lower() not in (".csv", ".txt"):
            raise ValueError("patients is not a CSV file")
        return self


class SiteFile(BaseModel):
    """What `ehr.site` reads of ``pod.yaml``; other sections are someone else's."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")
    ehr: EHRSection
    site: SiteSection
    cohort: CohortSection | None = None
