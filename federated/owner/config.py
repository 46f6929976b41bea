"""``pod.yaml``, read whole.

`ehr.site` reads the parts ``ehr``, ``site`` and ``cohort`` and ignores the rest; here every key of the file is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ehr.files.pod_file import checked, read_bytes
from ehr.files.settings import CohortSection, EHRSection, Section, SiteSection
from federated.datasources.settings import SourceSettings
from federated.owner.federation_section import FederationSection
from federated.owner.policy import PolicySection, or_empty
from federated.task.spec import POD_NAME


def _source_name(text: str) -> str:
    if not POD_NAME.fullmatch(text):
        raise ValueError("is not a name in a task: 1 to 64 of a-z, 0-9, '.', '_', '-'")
    return text


SourceName = Annotated[str, AfterValidator(_source_name)]
"""What a task calls a table."""


def which_sections(given: Iterable[str]) -> str | None:
    """What is wrong with the choice of sections that a pod file has; None where they fit together."""
    names = set(given)
    if not names & {"ehr", "data"}:
        return 'there is neither "ehr" nor "data"; give one of them'
    if ("ehr" in names) != ("site" in names):
        return '"ehr" and "site" belong together; give both, or "data" alone'
    if "cohort" in names and "ehr" not in names:
        return '"cohort" names patients of an EHR, and there is no "ehr"'
    return None


class PodFile(Section):
    """A whole pod file: an EHR, data sources, or both, and what may be done with them.

    Args:
        name: the hospital or site.
        ehr, site, cohort: see `ehr.files.settings`; a pod without an EHR has none of them.
        data: named data sources.
        policy: what may run and leave; an empty one runs nothing.
        federation: who the pod is to others; None for one that takes nobody's tasks.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")
    ehr: EHRSection | None = None
    site: SiteSection | None = None
    cohort: CohortSection | None = None
    data: Annotated[dict[SourceName, SourceSettings], BeforeValidator(or_empty)] = Field(default_factory=dict)
    policy: Annotated[PolicySection, BeforeValidator(or_empty)] = PolicySection()
    federation: FederationSection | None = None

    @model_validator(mode="after")
    def _something_to_read(self) -> PodFile:
        given = {"ehr": self.ehr, "site": self.site, "cohort": self.cohort, "data": self.data or None}
        wrong = which_sections(name for name, section in given.items() if section is not None)
        if wrong is not None:
            raise ValueError(wrong)
        return self


def read_pod(path: Path) -> PodFile:
    """A whole pod file; what it names is not opened.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    return checked(read_bytes(path, "pod file"), path.name, PodFile)
