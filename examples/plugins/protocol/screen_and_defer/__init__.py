"""``example.ScreenAndDefer``: a protocol that is a step document; the entry point names the path of its file."""

from __future__ import annotations

from pathlib import Path

DOCUMENT = Path(__file__).parent / "screen_and_defer.yaml"
