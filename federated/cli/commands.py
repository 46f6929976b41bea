"""Which module brings which command: data, so that help and start-up import none of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command or group lives.

    Args:
        module: it has ``app`` (a `typer.Typer`), ``<name>_app`` where it brings several groups, or
            ``register(app)``, which adds the command or group of that name to the app it is given.
        summary: one line for the list of commands.
    """

    module: str
    summary: str

    @property
    def exists(self) -> bool:
        """True if the module is part of this installation; nothing is imported."""
        return find_spec(self.module) is not None


# In the order of the help.
COMMANDS: dict[str, Place] = {
    "demo": Place("federated.cli.demo", "Screen synthetic people at embedded EHRs, from login to report."),
    "screen": Place(
        "federated.cli.screen", "Decide for each patient of this site whether the criteria hold."
    ),
    "ehr": Place("federated.cli.ehr", "Connect an EHR, see what works, ask for one patient."),
    "trial": Place("federated.cli.trial", "Make, check, read and freeze a trial file."),
    "valueset": Place("federated.cli.trial", "Bring code lists from FHIR or VSAC files into a trial file."),
    "pod": Place("federated.cli.pod", "Make, check and run one hospital's pod."),
    "task": Place("federated.cli.task", "Make, check and run a task over hospitals' pods."),
    "list": Place("federated.cli.names", "Show the names a task may use, and what each waits for."),
}
