"""A disk that loses what was not synced to it when its power is cut: the worst that may happen to a file.

Two things are listened to. Python's `os.fsync`: of a file it keeps the content, of a folder the names in it. And
SQLite's file layer (sqlite.org/vfs.html), a table of functions: ours stand in front of the system's for open, sync
and delete. All is still done as it was asked for; what a power cut would leave is written down beside it.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WORDS_OF_LAYER, NAME, OPEN, DELETE = 21, 3, 5, 6
"""Of `sqlite3_vfs` in words of a pointer's size: how many, and which are replaced."""
WORDS_OF_FILE, SYNC = 19, 5
"""The same of `sqlite3_io_methods`."""
JOURNALS, CREATE = 0x80800, 0x4
"""Flags of an open: a rollback journal or a write-ahead log; make it if it is missing."""
_WORD, _INT = ctypes.c_void_p, ctypes.c_int
# Names are passed as addresses: SQLite keeps the address, which must not be that of a copy.
_Opens = ctypes.CFUNCTYPE(_INT, _WORD, _WORD, _WORD, _INT, _WORD)
_Deletes = ctypes.CFUNCTYPE(_INT, _WORD, _WORD, _INT)
_Syncs = ctypes.CFUNCTYPE(_INT, _WORD, _INT)
_KEPT: list[_Layer] = []
"""A file that a failing test leaves open calls its layer when the interpreter closes it."""


@dataclass
class Disk:
    """What would be left.

    Attributes:
        databases: content of SQLite's files when they were last synced, by path.
        contents: the same of other files, by inode.
        names: those of a folder when it was last synced, with their inodes.
    """

    databases: dict[Path, bytes] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[Path, dict[str, int]] = field(default_factory=dict)

    def after_power_cut(self, folder: Path, to: Path) -> Path:
        """A copy of a folder as it would be found."""
        to.mkdir()
        for name, inode in self.names.get(folder, {}).items():
            if folder / name not in self.databases:
                (to / name).write_bytes(self.contents.get(inode, b""))
        for path, content in self.databases.items():
            if path.parent == folder:
                (to / path.name).write_bytes(content)
        return to

    def fsync(self, handle: int) -> None:
        """Note what `os.fsync` has made safe."""
        found = os.fstat(handle)
        place = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if not stat.S_ISDIR(found.st_mode):
            self.contents[found.st_ino] = place.read_bytes()
            return
        self.forget_deleted(place)
        gone = set(self.names.get(place, {}).values())
        self.names[place] = {one.name: one.stat().st_ino for one in place.iterdir() if one.is_file()}
        for inode in gone - set(self.names[place].values()):  # the next file may get the same one
            self.contents.pop(inode, None)

    def forget_deleted(self, folder: Path) -> None:
        """The folder was synced: what SQLite has deleted in it does not come back."""
        for path in [one for one in self.databases if one.parent == folder and not one.exists()]:
            del self.databases[path]


class _Layer:
    """SQLite's file layer with ours in front; see the names in sqlite.org/c3ref/vfs.html and io_methods.html."""

    def __init__(self, disk: Disk, system: int) -> None:
        self._disk, self._system = disk, system
        self._files: dict[int, tuple[Path, Any]] = {}
        self._journals: set[int] = set()
        self._methods: dict[int, tuple[Any, Any]] = {}
        self.words = (_WORD * WORDS_OF_LAYER).from_buffer_copy((_WORD * WORDS_OF_LAYER).from_address(system))
        self._open, self._delete = _Opens(self.words[OPEN]), _Deletes(self.words[DELETE])
        self._ours = _Opens(self.opens), _Deletes(self.deletes), _Syncs(self.syncs)
        self._name = ctypes.create_string_buffer(b"power cut")
        self.words[NAME] = ctypes.addressof(self._name)
        self.words[OPEN], self.words[DELETE] = (ctypes.cast(one, _WORD).value for one in self._ours[:2])

    def opens(self, layer: int, name: int | None, file: int, flags: int, out: int) -> int:
        code = self._open(self._system, name, file, flags, out)
        methods = _WORD.from_address(file)
        if code == 0 and name is not None and methods.value:
            path = _path(name)
            self._disk.databases.setdefault(path, path.read_bytes())
            table, sync = self._replaced(methods.value)
            methods.value = ctypes.addressof(table)
            self._files[file] = path, sync
            if flags & JOURNALS and flags & CREATE:
                self._journals.add(file)
        return code

    def _replaced(self, address: int) -> tuple[Any, Any]:
        if address not in self._methods:
            table = (_WORD * WORDS_OF_FILE).from_buffer_copy((_WORD * WORDS_OF_FILE).from_address(address))
            sync = _Syncs(table[SYNC])
            table[SYNC] = ctypes.cast(self._ours[2], _WORD).value
            self._methods[address] = table, sync
        return self._methods[address]

    def syncs(self, file: int, flags: int) -> int:
        path, sync = self._files[file]
        self._disk.databases[path] = path.read_bytes()
        if file in self._journals:  # unixSync: with a new journal its folder is synced, once
            self._journals.discard(file)
            self._disk.forget_deleted(path.parent)
        return int(sync(file, flags))

    def deletes(self, layer: int, name: int, with_folder: int) -> int:
        if with_folder:
            self._disk.databases.pop(_path(name), None)
        return int(self._delete(self._system, name, with_folder))


def _path(address: int) -> Path:
    return Path(os.fsdecode(ctypes.string_at(address)))


@contextmanager
def unreliable_disk(patch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """All files that are opened meanwhile lie on such a disk."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    if not Path("/proc/self/fd").exists() or not hasattr(library, "sqlite3_vfs_register"):
        pytest.skip("this system does not let its file layer be replaced")
    library.sqlite3_vfs_find.restype = _WORD
    disk, fsync = Disk(), os.fsync
    layer = _Layer(disk, library.sqlite3_vfs_find(None))

    def noted(handle: int) -> None:
        fsync(handle)
        disk.fsync(handle)

    patch.setattr(os, "fsync", noted)
    _KEPT.append(layer)
    library.sqlite3_vfs_register(ctypes.byref(layer.words), 1)
    try:
        yield disk
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(layer.words))
        patch.undo()
