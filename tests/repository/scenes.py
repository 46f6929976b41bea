"""Runs the examples of a page in order, as a reader would, in a folder of their own.

The sandbox that a page starts runs here on a free port; its address is put in the place of the one that is shown.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from ehr.files.pod_file import checked
from ehr.sandbox.oauth import RegisteredClient
from ehr.sandbox.server import Sandbox
from federated.algorithms.step_context import parameters_of
from federated.cli.frame import run
from federated.owner.config import PodFile
from federated.protocols.step_document import read_steps
from federated.screening.trial.load import load_trial
from federated.task import registry
from federated.task.spec import Unit
from tests.repository.fences import Fence

NOT_RUN = ("git ", "make ", "pip ", "chmod ", "cd ", "python3 ", "python ", "crontab ")
"""Shown to the reader only: they install, or take minutes."""
_TRIAL_HEAD = """\
trialveil: 1
id: fragment
title: A fragment
version: "1"
nct: none
value_sets:
"""
_SETS = {
    "dry_amd": "{include: [{system: icd10cm, codes: ['H35.31*']}]}",
    "wet_amd": "{include: [{system: icd10cm, codes: ['H35.32*']}]}",
    "glaucoma": "{include: [{system: icd10cm, codes: ['H40*']}]}",
    "diabetes": "{include: [{system: icd10cm, codes: ['E11*']}]}",
    "stroke": "{include: [{system: icd10cm, codes: ['I63*']}]}",
    "insulin": "{include: [{system: rxnorm, codes: ['106892']}]}",
    "penicillin": "{include: [{system: rxnorm, codes: ['7980']}]}",
    "influenza": "{include: [{system: cvx, codes: ['140']}]}",
    "consent_note": "{include: [{system: loinc, codes: ['59284-0']}]}",
    "eye_exam": "{include: [{system: cpt, codes: ['92014']}]}",
    "injection": "{include: [{system: cpt, codes: ['67028']}]}",
    "letters": "{include: [{system: loinc, codes: ['98498-9', '98499-7']}]}",
    "hba1c": "{include: [{system: loinc, codes: ['4548-4']}]}",
    "blood_pressure": "{include: [{system: loinc, codes: ['85354-9']}]}",
    "systolic": "{include: [{system: loinc, codes: ['8480-6']}]}",
    "smoking": "{include: [{system: loinc, codes: ['72166-2']}]}",
    "smoker": "{include: [{system: snomed, codes: ['449868002']}]}",
}


class Scene:
    """The folder, the sandboxes and the names of one page."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        self.folder = folder
        self._held = held
        self._origins: dict[str, str] = {}
        self._names: dict[str, Any] = {"__name__": "page"}
        self._status = 0

    def play(self, fence: Fence) -> None:
        """One example.

        Raises:
            AssertionError: it does not do what the page says.
        """
        players: dict[str, Callable[[Fence], None]] = {
            "console": self._console,
            "python": self._python,
            "yaml": self._yaml,
            "csv": self._file,
            "toml": self._file,
            "json": self._file,
            "text": lambda fence: None,
            "mermaid": lambda fence: None,  # a drawing; what it is made from is compared elsewhere
            "sh": self._shown_only,
        }
        assert fence.language in players, f"line {fence.line}: {fence.language!r} is no language of ours"
        players[fence.language](fence)

    def _real(self, text: str) -> str:
        for shown, real in self._origins.items():
            text = text.replace(shown, real)
        return text

    def _as_shown(self, text: str) -> str:
        for shown, real in self._origins.items():
            text = text.replace(real, shown)
        return text

    def _file(self, fence: Fence) -> None:
        if fence.name:
            target = self.folder / fence.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._real(fence.text), encoding="utf-8")

    def _yaml(self, fence: Fence) -> None:
        if fence.name == "pod-part":
            checked(self._whole_pod(fence.text), "pod.yaml", PodFile)
        elif fence.name == "criteria":
            sets = "".join(f"  {name}: {text}\n" for name, text in _SETS.items())
            part = self.folder / "fragment.yaml"
            listed = fence.text if fence.text.startswith(("inclusion", "exclusion")) else _listed(fence.text)
            part.write_text(_TRIAL_HEAD + sets + listed, encoding="utf-8")
            load_trial(part)
        elif fence.name == "steps":
            read_steps(fence.text)
        elif fence.name == "algorithm":
            _train(yaml.safe_load(fence.text)["algorithm"])
        elif fence.name == "mistakes":
            (self.folder / "mistakes.yaml").write_text(fence.text, encoding="utf-8")
        else:
            assert fence.name.endswith(".yaml"), f"line {fence.line}: say which file this YAML is"
            self._file(fence)
            target = self.folder / fence.name
            if target.name.startswith("pod"):
                checked(target.read_bytes(), target.name, PodFile)
            elif not target.name.startswith("task"):
                load_trial(target)

    def _whole_pod(self, part: str) -> bytes:
        whole = yaml.safe_load((self.folder / "pod.yaml").read_text(encoding="utf-8"))
        for section, keys in yaml.safe_load(part).items():
            if section in ("cohort", "name"):
                whole[section] = keys
            else:
                whole[section] = {**whole.get(section, {}), **keys}
        return yaml.safe_dump(whole).encode()

    def _shown_only(self, fence: Fence) -> None:
        for line in fence.text.splitlines():
            assert line.startswith((*NOT_RUN, "#", ". ")), (
                f"line {fence.line}: {line} is not checked by anything"
            )

    def _python(self, fence: Fence) -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            # The page's own code, from this repository.
            exec(compile(self._real(fence.text), f"page line {fence.line}", "exec"), self._names)
        expected = re.findall(r"#\s*→\s*(.+?)\s*$", fence.text, re.MULTILINE)
        lines = said.getvalue().splitlines()
        for text in expected:
            assert _among(text, lines), (
                f"line {fence.line}: no line of the output is {text!r}:\n{said.getvalue()}"
            )

    def _console(self, fence: Fence) -> None:
        assert fence.text.startswith("$ "), f"line {fence.line}: a console begins with a command"
        for part in re.split(r"^\$ ", fence.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            printed = self._command(command.split("   #")[0].strip())
            if printed is None:
                continue
            for line in filter(str.strip, expected.splitlines()):
                assert _among(line, printed.splitlines()), (
                    f"line {fence.line}: `{command}` does not print\n  {line}\nbut\n{printed}"
                )

    def _command(self, command: str) -> str | None:
        if command == "echo $?":
            return str(self._status)
        if command.startswith("cat "):
            return (self.folder / command[4:]).read_text(encoding="utf-8")
        if command == "make demo":
            command = "trialveil demo"
        if command.startswith(NOT_RUN):
            return None
        words = shlex.split(self._real(command))
        assert words[0] == "trialveil", f"`{command}` is not checked by anything"
        if words[1:3] == ["ehr", "sandbox"]:
            return self._sandbox(words[3:])
        target = words[words.index(">") + 1] if ">" in words else None
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self._status = run(words[1 : words.index(">") if target else None])
        if target:
            (self.folder / target).write_text(out.getvalue(), encoding="utf-8")
            out = io.StringIO()
        return self._as_shown(out.getvalue() + err.getvalue())

    def _sandbox(self, words: list[str]) -> str:
        options = {name: value for name, value in itertools.pairwise(words) if name.startswith("--")}
        clients = {}
        if "--client" in options:
            keys = yaml.safe_load((self.folder / options["--jwks"]).read_text(encoding="utf-8"))
            clients[options["--client"]] = RegisteredClient(keys, ("system/*.rs",))
        shown = f"http://127.0.0.1:{options['--port']}"
        skin = options.get("--skin", "smarthealthit")
        sandbox = self._held.enter_context(Sandbox(None, skin, clients=clients, login="--login" in words))
        self._origins[shown] = sandbox.origin
        return f"{self._as_shown(sandbox.base_url)}\nThe sandbox runs until Ctrl-C.\n"


def _train(algorithm: Any) -> None:
    """The algorithm of a task: its arguments are read, and its model is made."""
    unit = Unit(name=f"bitfount.{algorithm['name']}", arguments=algorithm["arguments"])
    module: Any = registry.load(registry.resolve(unit.name))
    module.model(parameters_of(module.Parameters, unit))


def _listed(text: str) -> str:
    """Criteria for ``inclusion:``: whole ones as they are, bare nodes each with a made-up head."""
    if "- id:" in text or "- {id:" in text:
        return "inclusion:\n" + text
    nodes = yaml.safe_load(text)
    assert isinstance(nodes, list), "a list of nodes"
    lines = ["inclusion:"]
    for number, node in enumerate(nodes):
        made = yaml.safe_dump(node, default_flow_style=True, width=10_000).strip()
        lines.append(f"  - {{id: node-{number}, text: A node, source: A sentence., where: {made}}}")
    return "\n".join(lines) + "\n"


def _among(expected: str, lines: list[str]) -> bool:
    pattern = ".*".join(re.escape(part) for part in " ".join(expected.split()).split("…"))
    return any(re.fullmatch(pattern, " ".join(line.split())) for line in lines)
