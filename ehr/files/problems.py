"""What is wrong with a file that a user wrote: file, line, column, code, message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, NamedTuple

from ehr.errors import ConfigurationError


class Mark(NamedTuple):
    """A place in a file; line and column are counted from 1, column 0 means the whole line."""

    file: str
    line: int
    column: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake or warning.

    Args:
        file, line, column: where; column 0 is the whole line.
        code: letters and three digits; one per kind of mistake, never used again for another.
        message: one or two sentences that name the key, what came and what to do.
        severity: a file with an error is refused; warnings are only shown.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")
        return f"{'warning ' if self.severity == 'warning' else ''}{place}: {self.code} {self.message}"


class FileErrors(ConfigurationError):
    """A file that a user writes has mistakes; all of them are listed.

    Attributes:
        problems: every one of them, and the warnings, sorted by place.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(slots=True)
class Problems:
    """Collects the problems of one run."""

    found: list[Problem] = field(default_factory=list)

    def error(self, mark: Mark, code: str, message: str) -> None:
        """Note a mistake."""
        self.found.append(Problem(*mark, code, message))

    def warn(self, mark: Mark, code: str, message: str) -> None:
        """Note something that is probably not meant."""
        self.found.append(Problem(*mark, code, message, "warning"))

    @property
    def failed(self) -> bool:
        """Whether there is a mistake among them."""
        return any(problem.severity == "error" for problem in self.found)


def quoted(text: str) -> str:
    """A piece of the file as a message shows it: one line, at most 40 characters."""
    shown = "".join(char if char.isprintable() else "�" for char in text)
    return f'"{shown if len(shown) <= 40 else shown[:37] + "..."}"'


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` Did you mean "x"?``, or nothing where no known word is near."""
    words = list(known)
    near = get_close_matches(word[:60], words, n=1, cutoff=0.6)
    near += [one for one in words if len(one) > 1 and word.startswith(one)]
    return f' Did you mean "{near[0]}"?' if near else ""
