"""The repository's files, as the house rules see them."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ehr", "secure_agg", "federated")


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Python files under the folders; the three packages without an argument."""
    found = (file for folder in folders or PACKAGES for file in (ROOT / folder).rglob("*.py"))
    return tuple(sorted(file for file in found if "__pycache__" not in file.parts))


@cache
def committed_files() -> tuple[Path, ...]:
    """Files that git would keep: tracked, and new ones it does not ignore; all files outside a checkout."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        files = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        skipped = {".venv", ".git", "__pycache__", "build", "dist", "node_modules"}
        files = [file for file in ROOT.rglob("*") if not skipped & set(file.relative_to(ROOT).parts)]
    return tuple(sorted(file for file in files if file.is_file()))


@cache
def tree(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def shown(file: Path) -> str:
    """The path from the repository's root, for messages."""
    return file.relative_to(ROOT).as_posix()
