"""Adding vectors from many parties so that only the sum is seen.

The masking protocol is not part of this release; the package holds its place and its error root, so
that the import layers are checked from the first day. Names are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_agg.errors import SecureAggError

__all__ = ["SecureAggError"]

_MODULES = {"SecureAggError": "secure_agg.errors"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
