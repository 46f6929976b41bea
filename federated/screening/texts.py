"""The sentences of evidence, from the templates in ``texts.toml``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Templates = Mapping[str, Mapping[str, str]]


@cache
def templates() -> Templates:
    """The packaged templates; read once."""
    found: dict[str, Any] = tomllib.loads(files(__package__).joinpath("texts.toml").read_text("utf-8"))
    return found


def number(value: float) -> str:
    """A number without a needless ``.0``, with at most nine digits after the point."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.9f}".rstrip("0")


def stretch(low: float | None, high: float | None) -> str:
    """A number, or the stretch it lies in; empty where there is none."""
    words = templates()["words"]
    if low is None and high is None:
        return ""
    if low is None or high is None:
        if high is None:
            return words["above"].format(low=number(low or 0.0))
        return words["below"].format(high=number(high))
    if low == high:
        return number(low)
    return words["from_to"].format(low=number(low), high=number(high))


def since(first: str, last: str, index: str) -> str:
    """The window in words; empty where none was asked."""
    words = templates()["words"]
    if first and (not last or last == index):
        return words["since"].format(first=first)
    if first:
        return words["between"].format(first=first, last=last)
    return words["until"].format(last=last) if last else ""


_COMPARED = re.compile(r"(<=|>=|!=|<|>|=|is|in) (.+?)( in each of \d+ periods)?")


def asked(threshold: str) -> str:
    """What is asked in words, such as ``5.7 % or more`` for ``>= 5.7 %``; a range stays as it is."""
    found = _COMPARED.fullmatch(threshold)
    if found is None:
        return threshold
    return templates()["asked"][found[1]].format(bound=found[2]) + (found[3] or "")


def sentence(group: str, key: str, **parts: object) -> str:
    """One sentence, with its first letter large and no doubled spaces.

    Raises:
        KeyError: there is no such template, which is a mistake of ours.
    """
    text = " ".join(templates()[group][key].format(**parts).split())
    text = text.replace(" ;", ";").replace(" :", ":").replace(" ,", ",").replace(" .", ".")
    return text[:1].upper() + text[1:]
