"""placeholder until the models part lands"""

from collections.abc import Mapping
from pathlib import Path

from federated.models.interface import Tensors


def save(path: Path, tensors: Tensors, facts: Mapping[str, str]) -> None: ...
