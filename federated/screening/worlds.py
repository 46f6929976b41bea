"""What silence means: closed, recorded or open, per kind (``trial-matching`` 3.4).

*Closed*: complete and nothing there means no. *Recorded*: nothing there is unknown, but what is there is taken
as all there is. *Open*: silence and shortness are both unknown. The site knows its data and may change the table
in ``pod.yaml``; a trial may only open a kind, or close it where the site agrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import cast

from ehr.fetched import Kind
from federated.errors import InvalidArgument
from federated.screening.plan_nodes import World

DEFAULTS: Mapping[str, World] = MappingProxyType(
    {
        "birth_date": "open",
        "sex": "open",
        "deceased": "closed",
        "condition": "closed",
        "procedure": "closed",
        "medication": "closed",
        "order": "closed",
        "allergy": "open",
        "observation": "recorded",
        "appointment": "closed",
        "encounter": "closed",
        "immunization": "recorded",
        "document": "recorded",
        "image": "recorded",
        "column": "open",
    }
)


def world_of(
    site: Mapping[str, str], closed: Iterable[str] = (), agreed: Iterable[str] = ()
) -> dict[str, World]:
    """The table of one plan.

    Args:
        site: ``world:`` of ``pod.yaml``: kind (singular or plural) to closed, recorded or open.
        closed: kinds that the trial calls complete (``assume_complete``).
        agreed: kinds for which the site lets a trial say so; others stay as they are.

    Raises:
        InvalidArgument: an unknown kind or word.
    """
    table = dict(DEFAULTS)
    for name, word in site.items():
        if word not in ("closed", "recorded", "open"):
            raise InvalidArgument('a kind\'s world is none of "closed", "recorded", "open"')
        table[_kind(name)] = cast(World, word)
    table.update(dict.fromkeys({_kind(name) for name in closed} & {_kind(name) for name in agreed}, "closed"))
    return table


def _kind(name: str) -> str:
    if name in DEFAULTS:
        return name
    try:
        kind = Kind.parse(name).value
    except ValueError:
        kind = ""
    if kind not in DEFAULTS:
        raise InvalidArgument(f"world names a kind that is not known. Known: {', '.join(DEFAULTS)}")
    return kind
