"""Everything that ``pod.yaml`` names is tried: keys, files, names. No server is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ehr.auth.keys import read_ring
from ehr.connect.store_key import store_secret
from ehr.errors import ConfigurationError
from ehr.files.pod_file import checked, place, read_bytes, secret_bytes
from ehr.files.problems import FileErrors, Mark, Problem, Problems
from ehr.files.settings import Browser, CohortSection, EHRSection, SiteSection
from ehr.files.yaml_nodes import Table, read_yaml
from ehr.people.people_file import read_people
from ehr.providers.registry import provider
from ehr.site import read_secret
from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.errors import FederatedError
from federated.owner.config import PodFile
from federated.owner.federation_section import FederationSection
from federated.owner.policy import PolicySection
from federated.task import registry
from federated.task.identity_file import read_identity


def check_pod(path: Path) -> tuple[PodFile, tuple[Problem, ...]]:
    """Read a pod file and try what it names: the provider, the keys, the patients file. Asks no server.

    Returns:
        The file and the warnings.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    data = read_bytes(path, "pod file")
    pod = checked(data, path.name, PodFile)
    problems = Problems()
    root = read_yaml(data, path.name, problems)
    if isinstance(root, Table):
        _try_parts(pod, path.parent, root, problems)
    if problems.failed:
        raise FileErrors(problems.found)
    return pod, tuple(problems.found)


Place = Callable[..., Mark]


def _try_parts(pod: PodFile, folder: Path, root: Table, problems: Problems) -> None:
    def mark(*keys: str | int) -> Mark:
        return place(root, keys)[0]

    if pod.ehr is not None and pod.site is not None:
        _try_ehr(pod.ehr, folder, mark, problems)
        _try_site(pod.site, pod.cohort, folder, mark, problems)
    for name, source in pod.data.items():
        _try_source(name, source, folder, mark("data", name), problems)
    _try_policy(pod.policy, mark, problems)
    if pod.federation is None:
        if pod.policy != PolicySection():
            message = 'there is a "policy" and no "federation": nobody can send a task to this pod.'
            problems.warn(mark("policy"), "PV130", message)
    else:
        _try_federation(pod.federation, pod.policy, folder, mark, problems)


def _attempt(mark: Mark, code: str, problems: Problems, what: Callable[[], object]) -> None:
    try:
        what()
    except ConfigurationError as error:
        problems.error(mark, code, str(error))


def _try_ehr(section: EHRSection, folder: Path, mark: Place, problems: Problems) -> None:
    _attempt(mark("ehr", "provider"), "PV120", problems, lambda: provider(section.provider))
    backend = section.auth.backend
    if backend is not None:
        at = mark("ehr", "auth", "backend", "keys")
        _attempt(at, "PV121", problems, lambda: read_ring(folder / backend.keys))
    if section.auth.browser is not None:
        _try_browser(section.auth.browser, folder, mark, problems)
    if section.auth.mode == "none" and section.allow_http is None:
        problems.warn(mark("ehr", "auth"), "PV125", "no login: right for open sandboxes only.")


def _try_site(
    site: SiteSection, cohort: CohortSection | None, folder: Path, mark: Place, problems: Problems
) -> None:
    _attempt(mark("site", "key"), "PV122", problems, lambda: read_secret(site.key, folder))
    if cohort is None:
        problems.warn(mark(), "PV123", 'there is no "cohort"; each screening needs --patients FILE.')
    elif cohort.patients is not None:
        patients = folder / cohort.patients
        at = mark("cohort", "patients")
        _attempt(at, "PV124", problems, lambda: read_people(read_bytes(patients, "patients file")))


def _try_source(name: str, source: SourceSettings, folder: Path, mark: Mark, problems: Problems) -> None:
    try:
        open_table(name, source, folder)
    except (ConfigurationError, FederatedError) as error:
        problems.error(mark, "PV137", f"{name}: {error}")


def _try_policy(policy: PolicySection, mark: Place, problems: Problems) -> None:
    for section in ("protocols", "algorithms"):
        for number, name in enumerate(getattr(policy, section)):
            entry = registry.find(name)
            waits = registry.waits_for(entry)
            if waits is not None and not _runs_with_argument(entry.name):
                message = f"{entry.name} is not part of this release: it waits for {waits}."
                problems.warn(mark("policy", section, number), "PV131", message)


def _runs_with_argument(name: str) -> bool:
    return any(member.name == name for member, _ in registry.WITH_ARGUMENT)


def _try_federation(
    federation: FederationSection, policy: PolicySection, folder: Path, mark: Place, problems: Problems
) -> None:
    at = mark("federation", "key")
    try:
        own = read_identity(federation.key, folder, "federation.key").public.hex()
    except ConfigurationError as error:
        problems.error(at, "PV132", str(error))
    else:
        if own in (federation.modeller.key, *federation.peers.values()):
            message = "federation: the modeller or a peer has this pod's own key."
            problems.error(at, "PV133", message)
    pods = len(federation.peers) + 1
    if policy.secure_aggregation == "required" and pods < policy.minimum_survivors:
        message = (
            f"a sum needs {policy.minimum_survivors} pods (policy.minimum_survivors), and there are {pods}."
        )
        problems.warn(mark("federation", "peers"), "PV134", message)
    if policy == PolicySection():
        problems.warn(mark("federation"), "PV135", "the policy allows nothing, so every task is refused.")
    state = folder / federation.state
    if state.exists() and not state.is_dir():
        problems.error(mark("federation", "state"), "PV136", "state is not a folder.")


def _try_browser(browser: Browser, folder: Path, mark: Callable[..., Mark], problems: Problems) -> None:
    """What a login in a browser names; nobody is asked for anything, and no keyring is opened."""
    parts: list[tuple[str, Callable[[], object]]] = []
    if browser.keys is not None:
        ring = folder / browser.keys
        parts.append(("keys", lambda: read_ring(ring)))
    if browser.client_secret is not None:
        secret = browser.client_secret
        parts.append(("client_secret", lambda: secret_bytes(secret, folder, "auth.browser.client_secret")))
    store = browser.store
    if store is not None and (store.key.file or store.key.env):
        parts.append(("store", lambda: store_secret(store.key, folder / store.file, folder, None)))
    for name, attempt in parts:
        try:
            attempt()
        except ConfigurationError as error:
            problems.error(mark("ehr", "auth", "browser", name), "PV127", str(error))
