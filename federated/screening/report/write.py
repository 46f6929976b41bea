"""The files of a run in its output folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from federated.screening.report import decisions_csv, files, html, json_documents
from federated.screening.report.decisions_csv import Contact
from federated.screening.report.results import Run


def write_site(run: Run, folder: Path) -> tuple[Path, ...]:
    """Write ``decisions.csv``, ``decisions.json``, ``summary.json``, ``run.json`` and ``report.html``.

    Each file is complete or absent, 0600, and but for ``run.json`` the same bytes for the same run. Pages
    and forms of an earlier, larger run that are no longer true are removed.

    Args:
        run: a finished run.
        folder: made if absent.

    Returns:
        What was written, ``report.html`` last.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
        CheckFailed: the numbers of the run do not add up; nothing is written.
    """
    summary = json_documents.summary(run)
    folder = files.ready(Path(folder))
    made: dict[str, Iterable[str]] = {
        "decisions.csv": decisions_csv.decisions(run),
        json_documents.decisions_name(run): json_documents.decisions_file(run),
        "summary.json": [json_documents.text(summary)],
        "run.json": [json_documents.text(json_documents.execution(run))],
    }
    pages = html.report(run)
    written = tuple(files.write(folder / name, pieces) for name, pieces in (made | pages).items())
    _remove_stale(folder, {path.name for path in written})
    return written


def _remove_stale(folder: Path, written: set[str]) -> None:
    ours = [
        *folder.glob("report-[0-9][0-9][0-9].html"),
        folder / "decisions.json",
        folder / "decisions.jsonl",
        *folder.glob(f"{files.UNFINISHED}*"),  # of a run that was killed while it wrote
    ]
    for path in ours:
        if path.name not in written:
            files.remove(path)


def write_contacts(run: Run, folder: Path, people: Mapping[int, Contact]) -> Path:
    """Write ``contacts.csv``, the one file with names; 0600.

    Raises:
        OutputError: as `write_site`.
    """
    return files.write(files.ready(Path(folder)) / "contacts.csv", decisions_csv.contacts(run, people))


def write_reference(run: Run, folder: Path) -> Path:
    """Write ``reference.csv``: the same decisions under the reference's column names.

    Raises:
        OutputError: as `write_site`.
    """
    return files.write(files.ready(Path(folder)) / "reference.csv", decisions_csv.reference(run))
