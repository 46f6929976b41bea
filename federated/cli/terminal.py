"""What every command says and how: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from federated.cli.exit_codes import MEANINGS, ExitCode

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Config = Annotated[Path, typer.Option("--config", metavar="POD.yaml", help="The pod file.")]
POD = Path("pod.yaml")
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(slots=True)
class _State:
    verbose: bool = False
    quiet: bool = False

    def reset(self) -> None:
        self.verbose = self.quiet = False


state = _State()

_NAME = 48
"""Longest name of ours in a first column; what is longer are words, and may be folded."""
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal or turn the direction of writing; text of EHRs, pods and tasks may hold them."""
_MISTAKE = re.compile(r"[^\n:]+:\d+:\d+: ")


def meanings(*codes: ExitCode) -> list[tuple[int, str]]:
    """Exit statuses and what they mean; all of them without an argument."""
    return [(int(code), MEANINGS[code]) for code in codes or MEANINGS]


def epilog(*codes: ExitCode, example: str, words: Mapping[ExitCode, str] | None = None) -> str:
    """The end of a command's help: its exit statuses and one example.

    Args:
        codes: which ones the command ends with.
        example: a whole command line.
        words: a meaning that is more exact for this command than the common one.
    """
    exact = words or {}
    listed = " · ".join(f"{code} {exact.get(ExitCode(code), text)}" for code, text in meanings(*codes))
    return f"Exit status: {listed}\n\nExample:  {example}"


def command(
    app: typer.Typer,
    *codes: ExitCode,
    example: str,
    words: Mapping[ExitCode, str] | None = None,
    name: str | None = None,
) -> Callable[[_Function], _Function]:
    """Makes a function a command of ``app``, with `epilog` at the end of its help; ``name`` if not its own."""
    return app.command(name, epilog=epilog(*codes, example=example, words=words))


def harmless(text: str) -> str:
    """The text, with a replacement character for each one that would steer the terminal."""
    return _STEERING.sub("\ufffd", text)


def out(text: str) -> None:
    """Write one result to stdout."""
    sys.stdout.write(harmless(text) + "\n")


def out_json(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of this command to stdout.

    Raises:
        ValueError: the document holds NaN or an infinity.
    """
    plain = (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(document, ensure_ascii=plain, indent=2, allow_nan=False) + "\n")


def out_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Write a table for people to stdout; on a narrow terminal a first column of names stays whole."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    names = max((len(row[0]) for row in rows), default=0) <= _NAME
    for place, column in enumerate(columns):
        table.add_column(
            column, overflow="fold", no_wrap=names and place == 0, min_width=min(len(column), 12)
        )
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    console(sys.stdout).print(table)


def say(text: str) -> None:
    """Tell the person at the keyboard something, on stderr; not with ``-q``."""
    if not state.quiet:
        sys.stderr.write(harmless(text) + "\n")


def say_more(text: str) -> None:
    """The same, only with ``-v``."""
    if state.verbose:
        say(text)


def complain(text: str) -> None:
    """Say on stderr why the command ends, even with ``-q``.

    A list of mistakes (``file:line:column: …``) stays as it is, so that editors find the places.
    """
    prefix = "" if _MISTAKE.match(text) else "trialveil: "
    sys.stderr.write(f"{prefix}{harmless(text)}\n")


def where(error: BaseException) -> None:
    """Show on stderr in which lines an error arose."""
    sys.stderr.write("\n".join(places(error)) + "\n")


def places(error: BaseException) -> list[str]:
    """The lines in which an error and its causes arose. Messages are left out: they may hold patient data."""
    lines = []
    for link in _causes(error):
        frames = traceback.format_list(traceback.extract_tb(link.__traceback__))
        lines += [*"".join(frames).splitlines(), f"  {type(link).__name__}"]
    return lines


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def console(stream: TextIO) -> Console:
    """A console for a stream: colours and width of a terminal; elsewhere plain and never cut.

    Rich itself honours ``NO_COLOR``.
    """
    from rich.console import Console

    return Console(file=stream, highlight=False, width=None if stream.isatty() else 400)


@contextmanager
def says_how_to_go_on() -> Iterator[None]:
    """Around work that can be stopped and resumed: says so to whoever stops it."""
    try:
        yield
    except KeyboardInterrupt:
        say("Run the same command again to go on where it stopped.")
        raise


class ProgressBar:
    """A progress bar, or nothing at all where nobody looks."""

    def __init__(self, shown: tuple[Progress, TaskID] | None) -> None:
        self._shown = shown

    def advance(self, steps: int = 1) -> None:
        """``steps`` more are done."""
        if self._shown is not None:
            progress, task = self._shown
            progress.advance(task, steps)

    def update(self, done: int, total: int | None = None) -> None:
        """``done`` of ``total`` are done."""
        if self._shown is not None:
            progress, task = self._shown
            progress.update(task, completed=done, total=total)


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[ProgressBar]:
    """Show progress on stderr while the block runs, if stderr is a terminal and not with ``-q``.

    Args:
        label: what is being done; no patient data.
        total: number of steps; None where it is not known.
    """
    if state.quiet or not sys.stderr.isatty():
        yield ProgressBar(None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as shown:
        yield ProgressBar((shown, shown.add_task(label, total=total)))
