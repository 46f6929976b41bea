"""``trialveil demo``: the main job on synthetic people, from login to report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.terminal import Json

if TYPE_CHECKING:
    from federated.reports.federation import Federation

app = typer.Typer(rich_markup_mode=None)


@terminal.command(
    app,
    ExitCode.DONE,
    ExitCode.FAULT,
    ExitCode.USAGE,
    ExitCode.STOPPED,
    example="trialveil demo --out trialveil-demo",
)
def demo(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the reports go.  [default: trialveil-demo]")
    ] = None,
    json: Json = False,
) -> None:
    """Screen synthetic people at four embedded EHRs for one trial, and write a report for each.

    Starts four EHRs on this machine, two of them with Epic's ways, lets four pods log in with keys of their own,
    decides for each patient criterion by criterion, and writes the sites' reports and an overview. All people are
    invented; nothing leaves the machine.
    """
    from federated.demo.clinic_run import demonstrate
    from federated.demo.pods import CLINICS
    from federated.screening.report import json_documents
    from federated.types import get_task_results_directory

    target = out or get_task_results_directory(None) / "trialveil-demo"
    began = time.perf_counter()
    result = demonstrate(target, terminal.say)
    if json:
        terminal.out_json(json_documents.overview([decisions.run for decisions in result.decisions.values()]))
        return
    rows = []
    titles = {clinic.name: clinic.title for clinic in CLINICS}
    for clinic, decisions in result.decisions.items():
        counts = decisions.summary["counts"]
        names = ("input", "eligible", "undecided", "not_eligible", "not_evaluated")
        rows.append((titles[clinic], *(str(counts[name]) for name in names)))
    columns = ("Site", "Patients", "Eligible", "Undecided", "Not eligible", "Not evaluated")
    terminal.out_table(columns, rows, title=decisions.run.trial.title)
    for line in together(result.federation):
        terminal.out(line)
    terminal.out(f"Took {time.perf_counter() - began:.1f} s. Open the overview in a browser:")
    terminal.out(f"  {target / 'overview.html'}")
    for clinic in result.decisions:
        terminal.out(f"  {target / clinic / 'report.html'}")


def together(found: Federation) -> list[str]:
    """What the pods found together, in two lines."""
    lines = []
    if (funnel := found.funnel) is not None:
        people = funnel.counts.total("evaluated")
        lines.append(f"Added up over {funnel.counts.pods} pods, under masks: {people} patients evaluated.")
    if (model := found.discrimination) is not None:
        first, *others = model.curves
        alone = [curve.rounds[-1].value for curve in others if curve.arm == "single"]
        shared = first.rounds[-1].value
        lines.append(
            f"Risk model over {len(alone)} other pods, under masks: {model.measure} {shared:.2f}; "
            f"one site alone {min(alone):.2f} to {max(alone):.2f}."
        )
    return lines
