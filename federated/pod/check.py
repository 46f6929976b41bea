"""Everything that ``pod.yaml`` names is tried: keys, files, names. No server is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ehr.auth.keys import read_ring
from ehr.connect.store_key import store_secret
from ehr.errors import ConfigurationError
from ehr.files.pod_file import inside, part, place, read_bytes, read_table, secret_bytes, validated
from ehr.files.problems import FileErrors, Mark, Problem, Problems
from ehr.files.settings import CohortSection, EHRSection, LoginStore, Secret
from ehr.files.yaml_nodes import Items, Table, plain
from ehr.people.people_file import read_people
from ehr.providers.registry import provider
from ehr.site import read_secret
from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.errors import FederatedError
from federated.owner.config import PodFile, which_sections
from federated.owner.federation_section import clash
from federated.owner.policy import AlgorithmName, ModelName, PolicySection, ProtocolName, budgets_of_others
from federated.task import registry
from federated.task.identity_file import read_identity
from federated.task.participants import PublicKey


def check_pod(path: Path) -> tuple[PodFile, tuple[Problem, ...]]:
    """Read a pod file and try what it names: the provider, the keys, the patients file. Asks no server.

    Returns:
        The file and the warnings.

    Raises:
        FileErrors: with every mistake.
        ConfigurationError: the file cannot be read.
    """
    problems = Problems()
    root = read_table(read_bytes(path, "pod file"), path.name, problems)
    if root is None:
        raise FileErrors(problems.found)
    pod = validated(root, problems, PodFile)
    _try_parts(root, path.parent, problems)
    if pod is None:
        _judge_sections(root, problems)
    if pod is None or problems.failed:
        raise FileErrors(problems.found)
    return pod, tuple(problems.found)


Place = Callable[..., Mark]


def _try_parts(root: Table, folder: Path, problems: Problems) -> None:
    """Each part is tried by itself, so that a mistake in one hides none in another."""

    def mark(*keys: str | int) -> Mark:
        return place(root, keys)[0]

    if "ehr" in root.entries:
        _try_ehr(root, folder, mark, problems)
        _try_site(root, folder, mark, problems)
    for name, source in _entries(root, SourceSettings, "data").items():
        _try_source(name, source, folder, mark("data", name), problems)
    _try_policy(root, mark, problems)
    if "federation" in root.entries:
        _try_federation(root, folder, mark, problems)
    elif _policy(root) not in (None, PolicySection()):
        message = 'there is a "policy" and no "federation": nobody can send a task to this pod.'
        problems.warn(mark("policy"), "PV130", message)


def _judge_sections(root: Table, problems: Problems) -> None:
    """What is judged with a whole section or file: judged here by what is right in it, where something is wrong."""
    peers = _entries(root, PublicKey, "federation", "peers")
    modeller = part(root, PublicKey, "federation", "modeller", "key")
    judged = {
        "": which_sections(name for name, node in root.entries.items() if plain(node)),
        "federation": clash(part(root, str, "federation", "name"), modeller, peers),
        "policy": _judge_budgets(root),
    }
    for section, wrong in judged.items():
        if wrong is not None:
            mark = place(root, (section,))[0]
            problems.error(mark, "PV110", f"{section or 'the file'}: {wrong}.")


def _judge_budgets(root: Table) -> str | None:
    budgets = part(root, dict[ModelName, Any], "policy", "budgets", "inferences")
    listed = inside(root, ("policy", "models"))
    models = () if listed is None else part(root, tuple[ModelName, ...], "policy", "models")
    return None if models is None or budgets is None else budgets_of_others(budgets, models)


def _entries(root: Table, kind: Any, *path: str) -> dict[str, Any]:
    """The entries of a table that are right."""
    node = inside(root, path)
    names = node.entries if isinstance(node, Table) else ()
    found = {name: part(root, kind, *path, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _policy(root: Table) -> PolicySection | None:
    """The policy; None where it is wrong."""
    found: PolicySection | None = part(root, PolicySection, "policy")
    return found if plain(root.entries.get("policy", root)) else PolicySection()


def _attempt(mark: Mark, code: str, problems: Problems, what: Callable[[], object]) -> None:
    try:
        what()
    except ConfigurationError as error:
        problems.error(mark, code, str(error))


def _try_ehr(root: Table, folder: Path, mark: Place, problems: Problems) -> None:
    name, keys = part(root, str, "ehr", "provider"), part(root, str, "ehr", "auth", "backend", "keys")
    if name is not None:
        _attempt(mark("ehr", "provider"), "PV120", problems, lambda: provider(name))
    if keys:
        at = mark("ehr", "auth", "backend", "keys")
        _attempt(at, "PV121", problems, lambda: read_ring(folder / keys))
    _try_browser(root, folder, mark, problems)
    section = part(root, EHRSection, "ehr")
    if section is not None and section.auth.mode == "none" and section.allow_http is None:
        problems.warn(mark("ehr", "auth"), "PV125", "no login: right for open sandboxes only.")


def _try_site(root: Table, folder: Path, mark: Place, problems: Problems) -> None:
    key, cohort = part(root, Secret, "site", "key"), part(root, CohortSection, "cohort")
    if key is not None:
        _attempt(mark("site", "key"), "PV122", problems, lambda: read_secret(key, folder))
    if "cohort" not in root.entries:
        problems.warn(mark(), "PV123", 'there is no "cohort"; each screening needs --patients FILE.')
    elif cohort is not None and cohort.patients is not None:
        patients = folder / cohort.patients
        at = mark("cohort", "patients")
        _attempt(at, "PV124", problems, lambda: read_people(read_bytes(patients, "patients file")))


def _try_source(name: str, source: SourceSettings, folder: Path, mark: Mark, problems: Problems) -> None:
    try:
        open_table(name, source, folder)
    except (ConfigurationError, FederatedError) as error:
        problems.error(mark, "PV137", f"{name}: {error}")


def _try_policy(root: Table, mark: Place, problems: Problems) -> None:
    for section, kind in (("protocols", ProtocolName), ("algorithms", AlgorithmName)):
        node = inside(root, ("policy", section))
        for number in range(len(node.items) if isinstance(node, Items) else 0):
            name = part(root, kind, "policy", section, number)
            if name is None:
                continue  # said already
            entry = registry.find(name)
            waits = registry.waits_for(entry)
            if waits is not None and not _runs_with_argument(entry.name):
                message = f"{entry.name} is not part of this release: it waits for {waits}."
                problems.warn(mark("policy", section, number), "PV131", message)


def _runs_with_argument(name: str) -> bool:
    return any(member.name == name for member, _ in registry.WITH_ARGUMENT)


def _try_federation(root: Table, folder: Path, mark: Place, problems: Problems) -> None:
    _try_identity(root, folder, mark, problems)
    peers, policy = inside(root, ("federation", "peers")), _policy(root)
    pods = (len(peers.entries) if isinstance(peers, Table) else 0) + 1
    if policy is not None and policy.secure_aggregation == "required" and pods < policy.minimum_survivors:
        message = (
            f"a sum needs {policy.minimum_survivors} pods (policy.minimum_survivors), and there are {pods}."
        )
        problems.warn(mark("federation", "peers"), "PV134", message)
    if policy == PolicySection():
        problems.warn(mark("federation"), "PV135", "the policy allows nothing, so every task is refused.")
    state = folder / (part(root, str, "federation", "state") or "state")
    if state.exists() and not state.is_dir():
        problems.error(mark("federation", "state"), "PV136", "state is not a folder.")


def _try_identity(root: Table, folder: Path, mark: Place, problems: Problems) -> None:
    secret = part(root, Secret, "federation", "key")
    if secret is None:
        return
    try:
        own = read_identity(secret, folder, "federation.key").public.hex()
    except ConfigurationError as error:
        problems.error(mark("federation", "key"), "PV132", str(error))
        return
    others = [part(root, PublicKey, "federation", "modeller", "key")]
    others += _entries(root, PublicKey, "federation", "peers").values()
    if own in others:
        message = "federation: the modeller or a peer has this pod's own key."
        problems.error(mark("federation", "key"), "PV133", message)


def _try_browser(root: Table, folder: Path, mark: Place, problems: Problems) -> None:
    """What a login in a browser names; nobody is asked for anything, and no keyring is opened."""
    keys, secret, store = (
        part(root, kind, "ehr", "auth", "browser", name)
        for name, kind in (("keys", str), ("client_secret", Secret), ("store", LoginStore))
    )
    parts: list[tuple[str, Callable[[], object]]] = []
    if keys:
        parts.append(("keys", lambda: read_ring(folder / keys)))
    if secret is not None:
        parts.append(("client_secret", lambda: secret_bytes(secret, folder, "auth.browser.client_secret")))
    if store is not None and (store.key.file or store.key.env):
        parts.append(("store", lambda: store_secret(store.key, folder / store.file, folder, None)))
    for name, attempt in parts:
        _attempt(mark("ehr", "auth", "browser", name), "PV127", problems, attempt)
