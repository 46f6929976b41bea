"""A vendor's quirk is in that vendor's file: no other module names a vendor."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

from tests.repository.sources import python_files, shown

VENDORS = re.compile(r"epic|next ?gen|nextech|intellechart|smart ?health ?it", re.IGNORECASE)
# `settings.py` and `federated/` hold names that users type (keys of pod.yaml, the reference's enums), not behaviour.
ALLOWED = (
    *("ehr/providers/", "ehr/config.py", "ehr/sandbox/skins/", "ehr/files/settings.py"),
    "ehr/testing/harnesses/",
)
# A standard extension's address, the name of the skin that is taken by default, and a header to be watched for.
# The name of a contract case is fixed by the list of cases.
NOT_A_QUIRK = (
    *("fhir-registry.smarthealthit.org", '"smarthealthit"', '"epic-client-id"'),
    "auth_nextgen_site_id_and_session_header_flow",
)


def _code_words(file: Path) -> list[tuple[int, str]]:
    """Names and texts of the code, without comments and docstrings."""
    text = file.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    kinds = {tokenize.NAME, tokenize.STRING}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [(t.start[0], t.string) for t in tokens if t.type in kinds and t.start[0] not in documented]


def test_no_module_outside_the_providers_names_a_vendor_in_its_code() -> None:
    found = [
        f"{shown(file)}:{line}"
        for file in python_files("ehr")
        if not shown(file).startswith(ALLOWED)
        for line, word in _code_words(file)
        if VENDORS.search(word) and not any(known in word for known in NOT_A_QUIRK)
    ]
    assert not found, "\n".join(["", *found])


def test_the_search_finds_a_vendor_in_code_and_not_in_a_comment(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        '"""Epic."""\nx = 1  # NextGen\nif name == "epic r4":\n    nextech = 2\n', encoding="utf-8"
    )
    assert [line for line, word in _code_words(file) if VENDORS.search(word)] == [3, 4]
