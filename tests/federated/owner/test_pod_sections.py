"""The whole ``pod.yaml``: data, policy and federation, each mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr.files.pod_file import checked, read_site_file
from ehr.files.problems import FileErrors
from federated.errors import UsageError
from federated.owner.config import PodFile, read_pod
from federated.owner.policy import PolicySection
from federated.pod.check import check_pod
from federated.task.identity_file import new_identity, read_identity
from secure_agg import Identity

MODELLER, YORK, HULL = (Identity(bytes([number]) * 32).public.hex() for number in (1, 2, 3))

GOOD = f"""\
name: Leeds
data:
  lung: {{file: lung.csv}}
policy:
  protocols: [FederatedAveraging]
  algorithms: [bitfount.FederatedModelTraining]
  models: [logistic_regression]
  leaves: [updates, metrics]
  minimum_survivors: 3
  cohort_minimum: 3
federation:
  name: leeds
  key: {{file: pod.key}}
  modeller: {{name: uni-york, key: {MODELLER}, address: 'tasks.example.org:7443'}}
  peers:
    york: {YORK}
    hull: {HULL}
"""


def read(text: str) -> PodFile:
    return checked(text.encode(), "pod.yaml", PodFile)


def mistakes(text: str) -> list[str]:
    with pytest.raises(FileErrors) as refused:
        read(text)
    return str(refused.value).splitlines()


def test_a_pod_without_an_ehr_is_read() -> None:
    pod = read(GOOD)
    assert (pod.ehr, pod.site, pod.cohort) == (None, None, None)
    assert pod.policy.protocols == ("bitfount.FederatedAveraging",)
    assert pod.policy.algorithms == ("bitfount.FederatedModelTraining",)
    assert pod.federation is not None
    assert pod.federation.pinned == {"york": bytes.fromhex(YORK), "hull": bytes.fromhex(HULL)}
    assert pod.federation.modeller.host_and_port == ("tasks.example.org", 7443)
    assert pod.federation.state == "state"


def test_an_empty_policy_allows_nothing() -> None:
    for text in ("policy:\n", "policy: {}\n", ""):
        policy = read(f"name: a\ndata: {{lung: {{file: a.csv}}}}\n{text}").policy
        assert policy == PolicySection()
        allowed = (
            policy.protocols,
            policy.algorithms,
            policy.trials,
            policy.steps,
            policy.models,
            policy.leaves,
        )
        assert not any(allowed)
        assert policy.secure_aggregation == "required"
        assert (policy.minimum_survivors, policy.smallest_cell) == (5, 11)


def test_ehr_commands_say_that_a_pod_has_no_ehr(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(FileErrors, match='PV104 "ehr" is missing'):
        read_site_file(tmp_path / "pod.yaml")
    assert read_pod(tmp_path / "pod.yaml").name == "Leeds"


def test_an_ipv6_address_stands_in_brackets() -> None:
    federation = read(GOOD.replace("tasks.example.org:7443", "[2001:db8::7]:9000")).federation
    assert federation is not None
    assert federation.modeller.host_and_port == ("2001:db8::7", 9000)


# What is changed, where the mistake must be found, and what must be said.
MISTAKES = [
    ("  protocols: [F", "  protocls: [F", "5:3", 'PV103 "protocls" is not a key here', 'Did you mean "protocols"?'),
    ("[FederatedAveraging]", "[FederatedAveragin]", "5:15", "PV110 protocols: ", 'you mean "FederatedAveraging"?'),
    ("[FederatedAveraging]", "[ModelInference]", "5:15", "is a name of another kind (algorithm)"),
    ("[bitfount.FederatedModelTraining]", "[SqlQuery, bitfount.Nonsense]", "6:26", "PV110 algorithms: "),
    ("[logistic_regression]", "['../../model']", "7:12", "neither the name of a model nor the SHA-256"),
    ("[updates, metrics]", "[updates, rows]", "8:21", "PV110 leaves: expected one of 'counts', 'updates'"),
    ("minimum_survivors: 3", "minimum_survivors: 2", "9:3", "must be at least 3"),
    ("minimum_survivors: 3", "minimum_survivors: three", "9:3", "is not a whole number"),
    ("cohort_minimum: 3", "cohort_minimum: 1", "10:3", "must be at least 3"),
    ("cohort_minimum: 3", "smallest_cell: 4", "10:3", "must be at least 5"),
    ("cohort_minimum: 3", "trials: [abc]", "10:12", "is not a SHA-256: 64 hexadecimal digits"),
    ("cohort_minimum: 3", "maximum_weight: nan", "10:3", "PV110 maximum_weight"),
    ("cohort_minimum: 3", "secure_aggregation: off", "10:3", "expected one of 'required' or 'optional'"),
    ("cohort_minimum: 3", "budgets: {epsilon: 0}", "10:13", "must be more than 0"),
    ("cohort_minimum: 3", "budgets: {delta: 1}", "10:13", "must be less than 1"),
    ("cohort_minimum: 3", "budgets: {epsilom: 1}", "10:13", 'PV103 "epsilom"', 'Did you mean "epsilon"?'),
    ("cohort_minimum: 3", "budgets: {inferences: {resnet: 3}}", "4:1", "not under", "models"),
    ("  name: leeds", "  name: Leeds", "12:3", "is not a name in a task"),
    ("{file: pod.key}", "{file: pod.key, env: KEY}", "13:3", 'give either "file" or "env"'),
    (f"key: {MODELLER}", "key: abc", "14:30", "is not 64 hexadecimal digits"),
    (f"key: {MODELLER}", f"kee: {MODELLER}", "14:30", 'PV103 "kee" is not a key here'),
    ("tasks.example.org:7443", "tasks.example.org", "14:101", "is not HOST:PORT"),
    ("tasks.example.org:7443", "tasks.example.org:70000", "14:101", "is not HOST:PORT"),
    ("tasks.example.org:7443", "https://tasks.example.org:1", "14:101", "is not HOST:PORT"),
    (f"york: {YORK}", f"leeds: {YORK}", "11:1", "names this pod itself"),
    (f"york: {YORK}", f"york: {HULL}", "11:1", "have the same key"),
    ("{file: lung.csv}", "{fil: lung.csv}", "3:10", 'PV103 "fil" is not a key here', 'Did you mean "file"?'),
    ("{file: lung.csv}", "{file: lung.csv, columns: {age: number}}", "3:36", "expected one of 'continuous'"),
    ("{file: lung.csv}", "{file: lung.csv, split: {trian: 80}}", "3:34", 'Did you mean "train"?'),
    ("{file: lung.csv}", "{file: lung.txt}", "3:3", "say its format"),
    ("  lung: {", "  Lung data: {", "3:3", "PV1"),
    ("data:\n  lung: {file: lung.csv}\n", "", "1:1", 'there is neither "ehr" nor "data"'),
    ("data:\n", "site: {time_zone: Europe/London, key: {file: k}}\ndata:\n", "1:1", "belong together"),
    ("data:\n", "cohort: {patients: p.csv}\ndata:\n", "1:1", 'there is no "ehr"'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "said"), [(m[0], m[1], m[2], m[3:]) for m in MISTAKES])
def test_each_mistake_is_named_at_its_place(old: str, new: str, at: str, said: tuple[str, ...]) -> None:
    assert GOOD.count(old) == 1
    found = mistakes(GOOD.replace(old, new))
    assert any(
        line.startswith(f"pod.yaml:{at}: ") and all(word in line for word in said) for line in found
    ), found


def test_a_mistake_never_shows_the_value() -> None:
    found = "\n".join(mistakes(GOOD.replace(f"key: {MODELLER}", "key: hunter2secret")))
    assert "hunter2" not in found


def _folder(tmp_path: Path, text: str = GOOD) -> Path:
    tmp_path.mkdir(exist_ok=True)
    new_identity(tmp_path / "pod.key")
    (tmp_path / "lung.csv").write_text("age,sex\n61,f\n", encoding="utf-8")
    file = tmp_path / "pod.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def codes(file: Path) -> list[str]:
    try:
        return [problem.code for problem in check_pod(file)[1]]
    except FileErrors as error:
        return [problem.code for problem in error.problems]


def listed(file: Path) -> list[str]:
    """Places and codes, in order; nothing is said twice."""
    with pytest.raises(FileErrors) as refused:
        check_pod(file)
    found = [f"{one.line}:{one.column} {one.code}" for one in refused.value.problems]
    assert len({(one.line, one.column, one.message) for one in refused.value.problems}) == len(found)
    return found


HOSPITAL = """\
ehr:
  provider: nobody r4
  base_url: https://ehr.example/fhir
  auth: {backend: {client_id: x, keys: nowhere, scop: a}}
site: {time_zone: Mars/Base, key: {file: site.key}}
cohort: {patients: none.csv}
"""


def test_mistakes_in_one_section_hide_none_in_another(tmp_path: Path) -> None:
    """A time zone that is none hid the provider that is not known, the keys and files that are not there."""
    text = GOOD.replace("data:\n", HOSPITAL + "data:\n")
    for old, new in (
        ("lung.csv", "none.csv"),
        ("[FederatedAveraging]", "[FederatedAveragin, GAScreeningProtocol]"),
        ("{file: pod.key}", "{file: none.key}"),
        ("tasks.example.org:7443", "nowhere"),
    ):
        text = text.replace(old, new)
    assert listed(_folder(tmp_path, text)) == [
        "3:3 PV120",
        "5:34 PV121",
        "5:49 PV103",
        "6:8 PV110",
        "6:30 PV122",
        "7:10 PV124",
        "9:3 PV137",
        "11:15 PV110",
        "11:34 PV131",
        "19:3 PV132",
        "20:101 PV110",
    ]


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("data:\n  lung: {file: lung.csv}\n", "", "1:1 PV110"),
        ("  minimum_survivors: 3", "  budgets: {inferences: {resnet: 3}}", "4:1 PV110"),
        (f"york: {YORK}", f"leeds: {YORK}", "11:1 PV110"),
        (f"york: {YORK}", f"york: {HULL}", "11:1 PV110"),
    ],
)
def test_what_is_judged_with_a_whole_section_is_judged_beside_other_mistakes(
    tmp_path: Path, old: str, new: str, at: str
) -> None:
    alone = listed(_folder(tmp_path, GOOD.replace(old, new)))
    assert at in alone
    text = GOOD.replace(old, new).replace("[updates, metrics]", "[rows]").replace("tasks.example.org", "::")
    beside = listed(_folder(tmp_path / "beside", text))
    assert set(alone) < set(beside)
    assert len(beside) == len(alone) + 2


def test_a_key_given_twice_hides_nothing_else(tmp_path: Path) -> None:
    text = GOOD.replace("name: Leeds\n", "name: Leeds\nname: York\n").replace("lung.csv", "none.csv")
    assert listed(_folder(tmp_path, text)) == ["2:1 TV102", "4:3 PV137"]


def test_a_complete_pod_has_nothing_to_complain_about(tmp_path: Path) -> None:
    assert "PV132" not in codes(_folder(tmp_path))


def test_the_identity_must_be_there_and_be_its_owner_s_alone(tmp_path: Path) -> None:
    file = _folder(tmp_path)
    (tmp_path / "pod.key").chmod(0o644)
    assert "PV132" in codes(file)
    (tmp_path / "pod.key").unlink()
    assert "PV132" in codes(file)


def test_a_modeller_with_the_pod_s_own_key_is_found(tmp_path: Path) -> None:
    file = _folder(tmp_path)
    own = Identity(bytes.fromhex((tmp_path / "pod.key").read_text().strip())).public.hex()
    file.write_text(GOOD.replace(MODELLER, own), encoding="utf-8")
    assert "PV133" in codes(file)


def test_a_sum_that_can_never_be_is_warned_of(tmp_path: Path) -> None:
    assert "PV134" in codes(_folder(tmp_path, GOOD.replace("minimum_survivors: 3", "minimum_survivors: 4")))


def test_a_name_that_waits_is_warned_of(tmp_path: Path) -> None:
    algorithms = "[SqlQuery, TrialInclusionCriteriaMatchAlgorithm]"
    file = _folder(tmp_path, GOOD.replace("[bitfount.FederatedModelTraining]", algorithms))
    _, warnings = check_pod(file)
    waiting = [problem.message for problem in warnings if problem.line == 6]
    assert len(waiting) == 1
    assert waiting[0].startswith("SqlQuery is not part of this release")


@pytest.mark.parametrize("source", ["{file: none.csv}", "{file: lung.csv, columns: {agee: continuous}}"])
def test_a_table_that_cannot_be_opened_is_found(tmp_path: Path, source: str) -> None:
    assert codes(_folder(tmp_path)).count("PV137") == 0
    folder = tmp_path / "second"
    assert codes(_folder(folder, GOOD.replace("{file: lung.csv}", source))).count("PV137") == 1


def test_an_identity_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "pod.key"
    public = new_identity(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text().strip()) == 64
    before = file.read_bytes()
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        new_identity(file)
    assert file.read_bytes() == before
    from ehr.files.settings import Secret

    assert read_identity(Secret(file="keys/pod.key"), tmp_path, "key").public == public
