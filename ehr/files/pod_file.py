"""Reads ``pod.yaml``: every mistake in one run, each with its line and column."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from ehr.errors import ConfigurationError
from ehr.files.problems import FileErrors, Mark, Problems, quoted, suggestion
from ehr.files.settings import Secret, SiteFile
from ehr.files.yaml_nodes import Hole, Items, Table, Text, Yaml, plain, read_yaml

M = TypeVar("M", bound=BaseModel)


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a file that a user named.

    Raises:
        ConfigurationError: it cannot be read; the sentence names ``what``, not the path.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"{what}: there is no such file.") from None
    except OSError as error:
        raise ConfigurationError(f"{what}: cannot be read ({type(error).__name__}).") from None


def secret_bytes(secret: Secret, folder: Path, name: str) -> bytes:
    """The bytes that a file (owner-only) or an environment variable holds, without white space around them.

    Args:
        secret: where it is.
        folder: of the pod file.
        name: the setting's name, for messages.

    Raises:
        ConfigurationError: others can read the file, or it cannot be read.
    """
    if secret.env is not None:
        return os.fsencode(os.environ.get(secret.env, "")).strip()
    path = folder / (secret.file or "")
    if path.exists() and os.name == "posix" and path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{name}: others than its owner can read the file; run chmod 600 on it.")
    return read_bytes(path, name).strip()


def read_site_file(path: Path) -> SiteFile:
    """The parts of a pod file that describe its EHR.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    return checked(read_bytes(path, "pod file"), path.name, SiteFile)


def checked(data: bytes, name: str, model: type[M]) -> M:
    """A model out of YAML.

    Args:
        data: the file's bytes.
        name: its name, for messages.
        model: a pydantic model; every scalar reaches it as text.

    Raises:
        FileErrors: with every mistake.
    """
    problems = Problems()
    root = read_table(data, name, problems)
    if root is None:
        raise FileErrors(problems.found)
    return checked_table(root, model, problems)


def checked_table(root: Table, model: type[M], problems: Problems) -> M:
    """A model out of a table that was read.

    Args:
        root: the table.
        model: as for `checked`.
        problems: what was found so far.

    Raises:
        FileErrors: with every mistake.
    """
    found = validated(root, problems, model)
    if found is None or problems.failed:
        raise FileErrors(problems.found)
    return found


def read_table(data: bytes, name: str, problems: Problems) -> Table | None:
    """The table of sections that a file is; None, and a problem, where it is none."""
    root = read_yaml(data, name, problems)
    if root is not None and not isinstance(root, Table):
        problems.error(root.mark, "PV100", "the file is a table of sections; found something else.")
    return root if isinstance(root, Table) else None


def validated(root: Table, problems: Problems, model: type[M]) -> M | None:
    """A model out of a table that was read; None, and every problem, where it does not fit."""
    try:
        return model.model_validate(plain(root))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        places = [mistake["loc"] for mistake in found]
        for mistake in found:
            at = mistake["loc"]
            # A list whose entries are wrong would be called too short as well.
            if mistake["type"] != "too_short" or not any(p[: len(at)] == at != p for p in places):
                _note(problems, root, mistake, model)
    return None


def part(root: Table, kind: Any, *path: str | int) -> Any:
    """One part of a file by itself, whatever is wrong beside it; None where it is missing, or wrong itself.

    Args:
        root: the table that was read.
        kind: what the part is, as pydantic reads it: a section, a list of sections, a word.
        path: keys and positions, from the top.
    """
    node = inside(root, path)
    if node is None:
        return None
    try:
        return TypeAdapter(kind).validate_python(plain(node))
    except ValidationError:
        return None


def inside(root: Table, path: Sequence[str | int]) -> Yaml | None:
    """What stands at a path of keys and positions; None where there is nothing."""
    node: Yaml = root
    for key in path:
        if isinstance(node, Table) and key in node.entries:
            node = node.entries[str(key)]
        elif isinstance(node, Items) and isinstance(key, int) and key < len(node.items):
            node = node.items[key]
        else:
            return None
    return None if isinstance(node, Hole) else node


def _note(problems: Problems, root: Table, mistake: Any, model: type[BaseModel]) -> None:
    path = [part for part in mistake["loc"] if part != "[key]"]
    mark, node = place(root, path)
    if isinstance(node, Hole):
        return  # what is wrong there is noted already
    name = next((part for part in reversed(path) if isinstance(part, str)), "the file")
    kind = mistake["type"]
    if kind == "extra_forbidden" or "[key]" in mistake["loc"]:
        known = _known_keys(model, path[:-1]) or _CHOICE.findall(mistake.get("ctx", {}).get("expected", ""))
        listed = ", ".join(sorted(known))
        problems.error(
            mark, "PV103", f"{quoted(name)} is not a key here. Known: {listed}.{suggestion(name, known)}"
        )
    elif kind == "missing":
        problems.error(mark, "PV104", f"{quoted(name)} is missing.")
    else:
        words = _words(mistake, node)
        problems.error(mark, "PV110", f"{name}: {words}{'' if words.endswith('?') else '.'}")


_CHOICE = re.compile(r"'([^']+)'")
_EXPECTED = {
    "literal_error": "expected one of {expected}",
    "string_pattern_mismatch": "has another form than {form}",
    "string_too_short": "is empty",
    "too_short": "needs at least {min_length}",
    "less_than": "must be less than {lt}",
    "int_parsing": "is not a whole number",
    "finite_number": "is not a number",
    "float_parsing": "is not a number",
    "bool_parsing": "is not true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "date_from_datetime_parsing": "is not a date of the form YYYY-MM-DD",
    "date_parsing": "is not a date of the form YYYY-MM-DD",
    "string_type": "is one text",
    "dict_type": "is a table of keys",
    "model_type": "is a table of keys",
    "tuple_type": "is a list",
}
_FORMS = {
    "name": "1 to 63 letters (A to Z), digits, spaces, dots, - and _",
    "callable": "package.module:function",
}


def _words(mistake: Any, node: Yaml) -> str:
    kind = mistake["type"]
    if kind == "value_error":
        return str(mistake["ctx"]["error"])
    words = _EXPECTED.get(kind, "has another form than is expected here")
    shape = "list" if isinstance(node, Items) else "table"
    found = "" if isinstance(node, Text | Hole) else f"; found a {shape}"
    form = _FORMS.get(str(mistake["loc"][-1]), "is expected here")
    return words.format(**mistake.get("ctx", {}), form=form) + found


def place(root: Table, path: Sequence[Any]) -> tuple[Mark, Yaml]:
    """Where a path of keys and positions is in the file: the key's own place, or as near as it goes."""
    node: Yaml = root
    mark = root.mark
    for part in path:
        if isinstance(node, Table) and str(part) in node.entries:
            mark = node.keys[str(part)]
            node = node.entries[str(part)]
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            mark = node.mark
        else:
            break
    return mark, node


def _known_keys(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    kind: Any = model
    for part in path:
        inner = next(_models_in(kind), None)
        held = next(_tables_in(kind), None)
        if isinstance(part, int):
            continue
        if held is not None and (inner is None or part not in inner.model_fields):
            kind = get_args(held)[1]
        elif inner is not None and part in inner.model_fields:
            kind = inner.model_fields[part].annotation
        else:
            return []
    inner = None if next(_tables_in(kind), None) else next(_models_in(kind), None)
    return [] if inner is None else list(inner.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def _tables_in(annotation: Any) -> Iterator[Any]:
    """Tables whose keys are names, such as ``dict[str, Source]``."""
    if get_origin(annotation) is dict:
        yield annotation
    elif not isinstance(annotation, type):
        for part in get_args(annotation):
            yield from _tables_in(part)
