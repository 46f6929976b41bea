"""Live progress of a task on a terminal: which round, which step, what each pod last said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from federated.cli import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from federated.rounds.coordinator import News, OnProgress


@dataclass(slots=True)
class Board:
    """What is known now.

    Attributes:
        number, of: the round, and how many there are; 0 where there are none.
        step: what is being done.
        pods: name to what was last heard of it.
    """

    number: int = 0
    of: int = 0
    step: str = ""
    pods: dict[str, str] = field(default_factory=dict)

    def take(self, news: News) -> None:
        """Note something that has happened."""
        if news.what == "round" and news.of:
            self.number, self.of, self.step = news.number, news.of, ""
            self.pods = {name: text for name, text in self.pods.items() if text != "accepted"}
        if news.pod:
            self.pods[news.pod] = news.text
        else:
            self.step = news.text

    def table(self) -> Table:
        """It all, as rich draws it."""
        from rich.table import Table
        from rich.text import Text

        title = f"round {self.number} of {self.of}" if self.of else "task"
        table = Table(title=f"{title}: {self.step}" if self.step else title, title_justify="left", box=None)
        table.add_column("pod")
        table.add_column("")
        for name, text in sorted(self.pods.items()):
            table.add_row(Text(name), Text(terminal.harmless(text[:100])))
        return table


@contextmanager
def live_rounds() -> Iterator[OnProgress]:
    """Show what happens: a live table on a terminal, one line for each round elsewhere, nothing with ``-q``."""
    board = Board()
    if terminal.state.quiet or not sys.stderr.isatty():
        yield lambda news: _line(news)
        return
    from rich.live import Live

    with Live(console=terminal.console(sys.stderr), transient=True, refresh_per_second=8) as live:

        def on_progress(news: News) -> None:
            board.take(news)
            live.update(board.table())

        yield on_progress


def _line(news: News) -> None:
    if news.what in ("round", "offer", "end"):
        terminal.say(news.text)
    elif news.pod:
        terminal.say(f"{news.pod}: {news.text}")
    else:
        terminal.say_more(news.text)
