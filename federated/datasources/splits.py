"""In which part a row of a data source is: training, validation or test.

By percentage the part follows from a hash of what the row is about. So rows that are added later do not move the
others, every reader of the same row comes to the same part, and nothing but the row decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from federated.datasources.settings import SplitSettings
from federated.types.datasources import DataSplitConfig

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_config(settings: SplitSettings, columns: tuple[str, ...]) -> DataSplitConfig:
    """The settings as the types page has them.

    Args:
        settings: of the owner.
        columns: all columns of the table; what a row is about where the settings do not say.
    """
    if settings.column is not None:
        return DataSplitConfig("predefined", {"column": settings.column})
    shares: dict[str, Any] = {name: getattr(settings, name) for name in SPLITS}
    return DataSplitConfig("percentage", shares | {"by": list(settings.by or columns)})


def columns_of(config: DataSplitConfig) -> tuple[str, ...]:
    """The columns that decide about the part of a row."""
    if config.data_splitter == "predefined":
        return (str(config.args["column"]),)
    return tuple(config.args["by"])


def part_of(row: Mapping[str, Any], config: DataSplitConfig) -> Split | None:
    """The part of one row; None for a row that is in none."""
    if config.data_splitter == "predefined":
        said = row[config.args["column"]]
        return next((name for name in SPLITS if name == said), None)
    told = [row[name] for name in config.args["by"]]
    digest = hashlib.sha256(b"trialveil/split" + msgspec.json.encode(told)).digest()
    point = int.from_bytes(digest[:8], "big") * 100 / 2**64
    edge = 0.0
    for name in SPLITS:
        edge += float(config.args[name])
        if point < edge:
            return name
    # Rounding can put a point on the last edge; a part of 0 % stays empty all the same.
    return next(name for name in reversed(SPLITS) if config.args[name] > 0)
