"""Several pieces of work at once, none of which outlives the others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def gather_or_cancel(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order.

    Raises:
        BaseException: what the first failing piece raised, as it is. All others are cancelled and have ended
            by then; so they are when the caller is cancelled.
    """
    pieces = list(work)
    if len(pieces) == 1:
        return [await pieces[0]]  # nothing runs beside it, so it needs no task
    tasks = [asyncio.ensure_future(piece) for piece in pieces]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
