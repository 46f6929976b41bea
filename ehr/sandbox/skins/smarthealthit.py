"""SMART Health IT: an open FHIR R4 server with Synthea data behind a launcher.

It searches freely (no minimum set), takes both scope styles, says the total and puts paging sessions on
its base address. Unlike the public launcher, this one checks the assertion's signature, ``jti`` and ``aud``.
"""

from __future__ import annotations

from ehr.sandbox.skin import LoginRules, Paging, Searching, Skin

SKIN = Skin(
    name="smarthealthit",
    title="SMART Health IT (R4)",
    fhir_path="/v/r4/fhir",
    token_path="/v/r4/auth/token",  # noqa: S106 - a path, not a secret
    paging=Paging(default_count=50, max_count=250, links_at="base"),
    searching=Searching(post="both", unknown="ignore"),
    login=LoginRules(token_life_s=3600),
)
