"""The types page: names, fields, order, defaults, and what importing it costs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federated import types
from federated.errors import InvalidArgument
from federated.types import (
    AggregatorType,
    AlgorithmType,
    APIKeys,
    EHRConfig,
    ExternallyManagedJWT,
    HubConfig,
    MinimalSchemaUploadConfig,
    PodPublicMetadata,
    ProtocolContext,
    ProtocolType,
    TaskContext,
    _PodResponseType,
)

HEAVY = {
    "numpy",
    "pandas",
    "torch",
    "fhir",
    "httpx",
    "aiohttp",
    "pydantic",
    "yaml",
    "cryptography",
    "msgspec",
}
REQUIRED = "required"


def test_the_types_page_imports_nothing_heavy() -> None:
    code = "import federated.types, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(seen.stdout.split())


def test_every_public_name_of_the_page_is_there() -> None:
    assert all(hasattr(types, name) for name in types.__all__)


@pytest.mark.parametrize(("kind", "count"), [(AlgorithmType, 39), (ProtocolType, 18), (AggregatorType, 2)])
def test_a_value_is_the_name_after_the_prefix(kind: type[Enum], count: int) -> None:
    assert len(kind) == len(kind.__members__) == count
    assert all(member.value == f"bitfount.{member.name}" for member in kind)


@pytest.mark.parametrize("kind", [AlgorithmType, ProtocolType, AggregatorType])
def test_bare_names_are_read_too(kind: type[Enum]) -> None:
    assert all(kind(member.name) is member for member in kind)


def test_a_renamed_algorithm_is_known_by_its_later_name() -> None:
    expected = AlgorithmType.NextGenPatientInfoDownloadAlgorithm
    assert AlgorithmType("EHRPatientInfoDownloadAlgorithm") is expected
    assert AlgorithmType("bitfount.EHRPatientInfoDownloadAlgorithm") is expected


@pytest.mark.parametrize(
    "name", ["", "bitfount.", "bitfount.bitfount.ResultsOnly", "resultsonly", None, 3, ["ResultsOnly"]]
)
def test_other_values_are_no_names(name: Any) -> None:
    with pytest.raises(ValueError):
        ProtocolType(name)


def test_pod_answers_stand_in_their_order_and_have_a_sentence() -> None:
    assert [member.name for member in _PodResponseType] == [
        "ACCEPT",
        "NO_ACCESS",
        "INVALID_PROOF_OF_IDENTITY",
        "UNAUTHORISED",
        "NO_PROOF_OF_IDENTITY",
        "NO_DATA",
        "INCOMPATIBLE_DATASOURCE",
        "TASK_SETUP_ERROR",
        "TASK_TIMEOUT",
        "MISSING_EHR_CONNECTION",
        "DATASOURCE_INACCESSIBLE",
    ]
    assert len({member.sentence for member in _PodResponseType}) == len(_PodResponseType)
    assert [(member.name, member.value) for member in TaskContext] == [("MODELLER", 1), ("WORKER", 2)]


FIELDS: dict[str, dict[str, Any]] = {
    "DatasourceContainerConfig": {
        "name": REQUIRED,
        "datasource": REQUIRED,
        "datasource_details": None,
        "data_config": None,
        "schema": None,
    },
    "DatasourceContainer": dict.fromkeys(
        ["name", "datasource", "datasource_details", "data_config", "schema"], REQUIRED
    ),
    "MinimalDatasourceConfig": dict.fromkeys(
        ["datasource_cls_name", "name", "datasource_args", "file_system_filters", "data_split"], REQUIRED
    ),
    "MinimalSchemaGenerationConfig": dict.fromkeys(
        ["datasource_name", "description", "column_descriptions", "ignore_cols", "force_stypes"], REQUIRED
    ),
    "MinimalSchemaUploadConfig": dict.fromkeys(
        ["public_metadata", "access_manager_public_key", "pod_public_key"], REQUIRED
    ),
    "PodDetailsConfig": {"display_name": REQUIRED, "description": ""},
    "DataSplitConfig": {"data_splitter": "percentage", "args": {}},
    "FileSystemFilterConfig": {
        "file_extension": None,
        "strict_file_extension": False,
        "file_creation_min_date": None,
        "file_creation_max_date": None,
        "file_modification_min_date": None,
        "file_modification_max_date": None,
        "min_file_size": None,
        "max_file_size": None,
    },
    "PodDataConfig": {
        "force_stypes": None,
        "column_descriptions": None,
        "table_descriptions": None,
        "description": None,
        "ignore_cols": None,
        "modifiers": None,
        "datasource_args": {},
        "data_split": None,
        "auto_tidy": False,
        "file_system_filters": None,
    },
    "HubConfig": {"username": REQUIRED, "secrets": REQUIRED, "session": None, "session_info": None},
    "EHRConfig": {
        "base_url": REQUIRED,
        "provider": REQUIRED,
        "enterprise_url": None,
        "smart_on_fhir_url": None,
        "smart_on_fhir_resource_server_url": None,
    },
    "InferenceLimits": {"limit": REQUIRED, "total_usage": REQUIRED},
    "ModelURLs": {"model_download_url": REQUIRED, "model_weights_url": REQUIRED},
    "ProtocolContext": {
        "inference_limits": {},
        "model_urls": {},
        "task_context": None,
        "project_id": None,
        "task_id": None,
    },
}
KEYWORD_ONLY = {"InferenceLimits", "ModelURLs", "ProtocolContext"}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


@pytest.mark.parametrize("name", FIELDS)
def test_fields_have_their_order_defaults_and_kind(name: str) -> None:
    kind = getattr(types, name)
    assert {field.name: _default(field) for field in dataclasses.fields(kind)} == FIELDS[name]
    assert list(FIELDS[name]) == [field.name for field in dataclasses.fields(kind)]
    by_keyword = {
        p.kind is inspect.Parameter.KEYWORD_ONLY for p in inspect.signature(kind).parameters.values()
    }
    assert by_keyword == {name in KEYWORD_ONLY}


def test_defaults_belong_to_one_instance() -> None:
    first, second = ProtocolContext(), ProtocolContext()
    first.model_urls["a"] = types.ModelURLs(model_download_url="https://x.example", model_weights_url=None)
    first.inference_limits["a"] = types.InferenceLimits(limit=1, total_usage=0)
    assert (second.model_urls, second.inference_limits) == ({}, {})


KEYS: dict[str, tuple[set[str], set[str]]] = {
    "AccessCheckResult": ({"response_type", "limits"}, set()),
    "ResourceLimit": (
        {"resourceType", "resourceName", "totalUsage"},
        {"limit", "modelDownloadUrl", "weightsDownloadUrl"},
    ),
    "SerializedAggregator": ({"class_name"}, set()),
    "SerializedAlgorithm": ({"class_name"}, {"model", "datastructure"}),
    "SerializedDataStructure": (set(), {"table", "schema_requirements", "compatible_datasources"}),
    "SerializedModel": ({"class_name"}, {"hub", "schema", "datastructure"}),
    "SerializedProtocol": ({"class_name", "algorithm"}, {"aggregator", "primary_results_path"}),
    "HuggingFaceImageClassificationInferenceDictionary": ({"image_classification"}, set()),
    "TextGenerationDictionary": ({"generated_text"}, set()),
}


@pytest.mark.parametrize("name", KEYS)
def test_dictionaries_have_their_required_and_optional_keys(name: str) -> None:
    kind = getattr(types, name)
    assert (set(kind.__required_keys__), set(kind.__optional_keys__)) == KEYS[name]


def test_generated_texts_are_lists_of_lists() -> None:
    assert types.TextGenerationDefaultReturnType == list[list[types.TextGenerationDictionary]]


@pytest.mark.parametrize("provider", get_args(types.EHRProvider))
def test_the_providers_of_the_page_are_known(provider: Any) -> None:
    assert EHRConfig("https://ehr.example/fhir", provider).provider == provider


@pytest.mark.parametrize("provider", ["", "Epic R4", "epic", "generic r5", None, 4])
def test_an_unknown_provider_is_refused(provider: Any) -> None:
    with pytest.raises(ValueError, match="provider"):
        EHRConfig("https://ehr.example/fhir", provider)


def test_secrets_show_their_class_only() -> None:
    keys = APIKeys("the-id", "the-key")
    token = ExternallyManagedJWT(
        "the-token", datetime(2026, 1, 1, tzinfo=UTC), lambda: ("next", datetime.now(UTC))
    )
    urls = types.ModelURLs(model_download_url="https://x.example/?sig=the-sig", model_weights_url=None)
    session = types.BitfountSession("ana", keys)
    hub = HubConfig("ana", token, session, {"token": "the-token"})
    shown = f"{keys} {keys!r} {token!r} {urls!r} {session!r} {hub!r} {[keys, token, urls]}"
    assert "the-" not in shown
    assert repr(keys) == "APIKeys(...)"
    assert keys == APIKeys("the-id", "the-key")
    assert keys != APIKeys("the-id", "another")
    assert keys != APIKeys("another", "the-key")
    assert keys != "the-key"
    with pytest.raises(TypeError):
        hash(keys)
    with pytest.raises(AttributeError):
        keys.access_key = "other"  # type: ignore[misc]  # that it cannot be set is what is tested


def test_a_managed_token_is_renewed_when_it_has_ended() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    given: list[str] = []

    def next_token() -> tuple[str, datetime]:
        given.append("second")
        return "second", start + timedelta(hours=2)

    token = ExternallyManagedJWT("first", start + timedelta(hours=1), next_token)
    assert token.token(start) == "first"
    assert token.token(start + timedelta(hours=1)) == "second"
    assert token.token(start + timedelta(minutes=90)) == "second"
    assert given == ["second"]
    with pytest.raises(ValueError, match="time zone"):
        ExternallyManagedJWT("first", datetime(2026, 1, 1), next_token)


@pytest.fixture(scope="module")
def upload() -> MinimalSchemaUploadConfig:
    metadata = PodPublicMetadata("leeds", "Leeds", "Eye clinic", {"columns": {"age": "continuous"}}, None)
    first, second = (rsa.generate_private_key(65537, 2048).public_key() for _ in range(2))
    return MinimalSchemaUploadConfig(metadata, first, second)


def test_an_upload_survives_json_and_pickle(upload: MinimalSchemaUploadConfig) -> None:
    text = json.dumps(upload.to_json())
    assert MinimalSchemaUploadConfig.from_json(json.loads(text)) == upload
    assert pickle.loads(pickle.dumps(upload)) == upload
    assert upload.pod_public_key_pem.startswith("-----BEGIN PUBLIC KEY-----")


def test_an_upload_takes_keys_as_pem_or_openssh_text(upload: MinimalSchemaUploadConfig) -> None:
    assert not isinstance(upload.pod_public_key, str)
    ssh = upload.pod_public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    by_text = MinimalSchemaUploadConfig(upload.public_metadata, upload.access_manager_public_key_pem, ssh)
    assert by_text.to_json() == upload.to_json()


def test_what_is_no_rsa_key_is_refused_by_field_and_not_shown(upload: MinimalSchemaUploadConfig) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for wrong in (other, "secret-looking text", "", None, 7):
        with pytest.raises(InvalidArgument, match="pod_public_key is not an RSA public key") as caught:
            MinimalSchemaUploadConfig.from_json({**upload.to_json(), "pod_public_key": wrong})
        assert "secret-looking" not in str(caught.value)
    with pytest.raises(InvalidArgument, match="other keys"):
        MinimalSchemaUploadConfig.from_json({"public_metadata": {}})
