"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import ast
import json
import re
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from federated.cli import reference, schemas
from federated.cli.commands import COMMANDS
from federated.cli.exit_codes import MEANINGS
from federated.errors import InvalidArgument
from tests.repository.fences import headings, pages
from tests.repository.sources import PACKAGES, ROOT, python_files, shown, tree


def test_every_command_s_help_stands_in_the_page() -> None:
    page = (ROOT / reference.FILE).read_text(encoding="utf-8")
    assert page == reference.page(), "run: python -m federated.cli.reference"


def test_every_command_of_the_table_is_there() -> None:
    assert [name for name, place in COMMANDS.items() if not place.exists] == []


def test_every_command_has_a_summary_exit_statuses_and_an_example() -> None:
    for path, text in reference.commands():
        is_group = "COMMAND [ARGS]" in text
        assert "Exit status:" in text or (is_group and path != "trialveil"), path
        assert is_group or f"Example:  {path}" in text, path


def test_no_line_of_help_is_wider_than_the_page() -> None:
    assert max(len(line) for _, text in reference.commands() for line in text.splitlines()) <= reference.WIDTH


def test_the_help_of_the_whole_names_every_exit_status() -> None:
    whole = " ".join(dict(reference.commands())["trialveil"].split())
    assert all(f"{int(code)} {text}" in whole for code, text in MEANINGS.items())


def test_every_document_that_the_code_names_has_a_model() -> None:
    named = {
        node.value
        for file in python_files()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"trialveil/[a-z-]+/\d+", node.value)
    }
    assert named <= {schemas.schema_id(name) for name in schemas.DOCUMENTS}
    assert "trialveil/names/1" in named


def test_every_model_of_the_table_is_there() -> None:
    assert [name for name, document in schemas.DOCUMENTS.items() if not document.exists] == []


@pytest.mark.parametrize("name", [name for name, document in schemas.DOCUMENTS.items() if document.exists])
def test_a_schema_on_disk_is_the_model_s(name: str) -> None:
    file = ROOT / schemas.FOLDER / f"{name}.json"
    assert file.read_text(encoding="utf-8") == schemas.text(name), "run: python -m federated.cli.schemas"
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert schema["$id"] == schemas.schema_id(name)
    if schemas.DOCUMENTS[name].written_by_us:
        assert schema["properties"]["schema"]["const"] == schemas.schema_id(name)
        assert "schema" in schema["required"]


def test_no_schema_on_disk_is_without_a_model() -> None:
    files = {file.stem for file in (ROOT / schemas.FOLDER).glob("*.json")}
    assert files == {name for name, document in schemas.DOCUMENTS.items() if document.exists}


def test_schemas_are_written_and_stale_ones_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}", encoding="utf-8")
    written = schemas.write(tmp_path)
    assert sorted(tmp_path.iterdir()) == written
    assert tmp_path / "names.json" in written


def test_an_unknown_document_has_no_schema() -> None:
    with pytest.raises(InvalidArgument, match="names"):
        schemas.schema_id("no-such")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_name_of_ours_that_a_page_shows_is_there(page: Path) -> None:
    shown_names = re.findall(r"`((?:ehr|secure_agg|federated)(?:\.\w+)+)", page.read_text(encoding="utf-8"))
    for name in shown_names:
        if re.search(r"\.(py|json)$", name) or ("torch" in name and find_spec("torch") is None):
            continue
        assert resolve_name(name) is not None


def test_the_hooks_before_a_commit_are_the_parts_of_make_check() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    parts = [line.removeprefix("\t@") for line in recipe.splitlines() if "@$(" in line]
    made = [
        part.replace("$(PYTEST)", "$(BIN)/python -m pytest").replace("$(BIN)", ".venv/bin") for part in parts
    ]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == made
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in repository["hooks"])


def test_every_page_that_the_code_names_is_there() -> None:
    seen = 0
    for file in python_files(*PACKAGES, "tests", "fixtures", "benchmarks"):
        text = " ".join(file.read_text(encoding="utf-8").replace("\n# ", " ").split())
        for name, heading in re.findall(r'\bdocs/([\w-]+\.md)(?:, "([^"]+)")?', text):
            page = ROOT / "docs" / name
            assert page.exists(), f"{shown(file)} names docs/{name}"
            assert not heading or heading in headings(page), f"{shown(file)} names {heading!r} of docs/{name}"
            seen += bool(heading)
        # A section by its number is one of a page that lies elsewhere: ours have headings without numbers.
        assert not re.search(r"``[a-z]+(-[a-z]+)+`` (section )?\d", text), (
            f"{shown(file)} names a section of no page"
        )
    assert seen >= 10
