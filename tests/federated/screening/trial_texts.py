"""Texts of small trial files for tests. ``§`` in a text marks the place where a problem is expected."""

from __future__ import annotations

from ehr.files.problems import Problem
from federated.screening.trial.load import Checked, packaged, read_trial
from federated.screening.trial.merge import Sources

HEAD = """trialveil: 1
id: test-trial
title: A trial
version: "1"
status: final
"""
SETS = """value_sets:
  dm: {include: [{system: icd10cm, codes: ["E11*"]}]}
  hba1c: {include: [{system: loinc, codes: ["4548-4"]}]}
  other: {include: [{system: "uri:http://lab.example/codes", codes: [x1]}]}
"""
USES = """  - {id: use_dm, text: t, source: s, where: {condition: {in: dm, clinical: any}}}
  - {id: use_hba1c, text: t, source: s, where: {observation: {in: hba1c, take: any, within: 5 a}}}
  - {id: use_other, text: t, source: s, where: {observation: {in: other, take: any}}}
"""


def with_node(node: str, head: str = "") -> str:
    """A good file but for one node, written in flow style."""
    text = f"{HEAD}{head}{SETS}inclusion:\n{USES}"
    return f"{text}  - id: tested\n    text: t\n    source: s\n    where: {node}\n"


def unmarked(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the mark's line and column; 0, 0 where there is none."""
    if "§" not in text:
        return text, 0, 0
    before = text[: text.index("§")]
    return text.replace("§", "", 1), before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def files(**contents: str | bytes) -> Sources:
    """Other files by name; ``__`` stands for the dot before the ending."""
    held = {name.replace("__", "."): text for name, text in contents.items()}

    def read(path: str) -> bytes:
        if path not in held:
            raise FileNotFoundError
        found = held[path]
        return found if isinstance(found, bytes) else found.encode()

    return Sources(read, packaged)


def read(text: str, sources: Sources | None = None, **overrides: str) -> Checked:
    """Read a text as ``t.yaml``."""
    return read_trial(text, "t.yaml", sources or files(), overrides)


def errors(checked: Checked) -> list[Problem]:
    """The mistakes among the problems."""
    return [problem for problem in checked.problems if problem.severity == "error"]
