"""Running one mutant: the changed module in a forked process, and the tests that must notice.

No file is changed: a finder on `sys.meta_path` gives the changed module to whoever imports it. Every mutant has a
process of its own, forked from one that has read the libraries but nothing of this project.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

from tests.proof.mutator import Mutant, mutated

MEMORY = 4 << 30
LIBRARIES = (
    "numpy",
    "numpy.testing",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "hypothesis.strategies",
    "hypothesis.internal.conjecture.engine",
    "msgspec",
    "pydantic",
    "httpx",
    "yaml",
    "joserfc.jwk",
    "authlib",
    "zoneinfo",
)
NOTHING_RAN = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said.

    Args:
        killed: a test failed, could not be collected, or did not end in time.
        how: ``failed``, ``timeout`` or ``survived``.
        seconds: wall time.
    """

    killed: bool
    how: str
    seconds: float


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module from a syntax tree."""

    def __init__(self, module: str, path: Path, index: int) -> None:
        self._module, self._path, self._index = module, path, index

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        tree = mutated(self._path.read_text(encoding="utf-8"), self._index)
        exec(compile(tree, str(self._path), "exec"), module.__dict__)


def load_libraries() -> None:
    """Import what every child needs, once."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _run(tests: Sequence[str], finder: _Finder | None) -> int:
    """The tests in this process; its output goes nowhere."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if finder is not None:
        sys.meta_path.insert(0, finder)
    # Drawn examples are the same in every run: a failure comes from the mutant, and not from luck.
    hypothesis.settings.register_profile("proof", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("proof")
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "--no-header"]
    options += ["-m", "not proof"]
    # Else pytest rewrites, and so loads by itself, what belongs to its plug-ins: all of ehr, without the change.
    options += ["--assert=plain"]
    return int(pytest.main([*options, *tests]))


@dataclass(slots=True)
class _Child:
    mutant: Mutant | None
    pid: int
    began: float


def _fork(root: Path, mutant: Mutant | None, tests: Sequence[str]) -> _Child:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            finder = None
            if mutant is not None:
                path = root / (mutant.module.replace(".", "/") + ".py")
                finder = _Finder(mutant.module, path, mutant.index)
            code = _run(tests, finder)
        finally:
            os._exit(code)
    return _Child(mutant, pid, time.monotonic())


def _ended(child: _Child, limit_s: float) -> Verdict | None:
    seconds = time.monotonic() - child.began
    pid, status = os.waitpid(child.pid, os.WNOHANG)
    if pid == 0:
        if seconds < limit_s:
            return None
        os.killpg(child.pid, 9)
        os.waitpid(child.pid, 0)
        return Verdict(True, "timeout", seconds)
    code = os.waitstatus_to_exitcode(status)
    if code == NOTHING_RAN:
        raise RuntimeError("no test was found for a module")
    return Verdict(code != 0, "survived" if code == 0 else "failed", seconds)


def baseline(root: Path, tests: Sequence[str], limit_s: float) -> Verdict:
    """The tests on the unchanged code; they must not fail."""
    child = _fork(root, None, tests)
    while (verdict := _ended(child, limit_s)) is None:
        time.sleep(0.05)
    return verdict


def run_all(
    root: Path,
    work: Sequence[tuple[Mutant, Sequence[str], float]],
    workers: int,
    tell: Callable[[Mutant, Verdict], None],
    minutes: float = inf,
) -> Iterator[tuple[Mutant, Verdict]]:
    """Try mutants, some at a time; yields each as it is decided.

    Args:
        root: of the checkout.
        work: mutant, its tests, its time limit in seconds.
        workers: how many processes at once.
        tell: is told of each.
        minutes: after so many none is begun any more.
    """
    waiting = list(reversed(work))
    limits = {mutant: limit for mutant, _, limit in work}
    running: list[_Child] = []
    until = time.monotonic() + minutes * 60
    while waiting or running:
        if time.monotonic() > until:
            waiting.clear()
        while waiting and len(running) < workers:
            mutant, tests, _ = waiting.pop()
            running.append(_fork(root, mutant, tests))
        time.sleep(0.02)
        for child in list(running):
            assert child.mutant is not None
            verdict = _ended(child, limits[child.mutant])
            if verdict is not None:
                running.remove(child)
                tell(child.mutant, verdict)
                yield child.mutant, verdict
