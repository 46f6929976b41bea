"""``python -m ehr.testing.specimens``: try every case on every specimen, and write down which catch it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ehr.testing.cases import CASES
from ehr.testing.specimens import CAUGHT, SPECIMENS
from ehr.testing.specimens.specimen import Specimen
from ehr.testing.specimens.trial import catchers


def page(found: dict[str, tuple[int, ...]]) -> str:
    """The file of the further cases; the one that a specimen is made for is left out."""
    own = {specimen.name: specimen.caught_by for specimen in SPECIMENS}
    others = {name: [one for one in numbers if one != own[name]] for name, numbers in found.items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in others.items() if numbers]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Write the module; the number of specimens that the case they name does not catch."""

    def told(specimen: Specimen) -> None:
        sys.stderr.write(f"{specimen.name}\n")

    found = catchers(SPECIMENS, lambda specimen: CASES, told)
    Path(__file__).with_name(CAUGHT).write_text(page(found), encoding="utf-8")
    missed = [one.name for one in SPECIMENS if one.caught_by not in found[one.name]]
    for name in missed:
        sys.stderr.write(f"not caught by its case: {name}\n")
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
