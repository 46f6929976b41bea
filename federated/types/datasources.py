"""A pod's data sources: before they are loaded, after, and what another process needs to rebuild them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from federated.errors import InvalidArgument

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SemanticType = Literal["categorical", "continuous", "image", "text", "image_prefix"]
ForcedTypes = dict[SemanticType, list[str]]


@runtime_checkable
class BaseSource(Protocol):
    """What a pod may read: rows with named columns."""

    def columns(self) -> Sequence[str]:
        """Names of all columns, in order."""
        ...

    def rows(self, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """The asked columns of every row."""
        ...


@dataclass
class FileSystemFilterConfig:
    """Which files of a folder are read; sizes in MB, dates inclusive."""

    file_extension: str | list[str] | None = None
    strict_file_extension: bool = False
    file_creation_min_date: date | None = None
    file_creation_max_date: date | None = None
    file_modification_min_date: date | None = None
    file_modification_max_date: date | None = None
    min_file_size: float | None = None
    max_file_size: float | None = None


@dataclass
class DataSplitConfig:
    """How rows are divided into training, validation and test; ``args`` belong to the splitter."""

    data_splitter: Literal["percentage", "predefined"] = "percentage"
    args: dict[str, Any] = field(default_factory=dict)


@dataclass
class PodDetailsConfig:
    """How a data source is shown to others."""

    display_name: str
    description: str = ""


@dataclass
class PodDataConfig:
    """How a data source is to be read."""

    force_stypes: ForcedTypes | None = None
    column_descriptions: dict[str, Any] | None = None
    table_descriptions: dict[str, str] | None = None
    description: str | None = None
    ignore_cols: list[str] | None = None
    modifiers: dict[str, Any] | None = None
    datasource_args: dict[str, Any] = field(default_factory=dict)
    data_split: DataSplitConfig | None = None
    auto_tidy: bool = False
    file_system_filters: FileSystemFilterConfig | None = None


@dataclass
class BitfountSchema:
    """Names and semantic types of the columns; no data.

    Args:
        name: the data source's name.
        columns: column to semantic type, in order.
    """

    name: str
    columns: dict[str, SemanticType] = field(default_factory=dict)


@dataclass
class PodPublicMetadata:
    """What anyone may know about a data source; ``number_of_records`` is None where it is not told."""

    name: str
    display_name: str
    description: str
    schema: dict[str, Any]
    number_of_records: int | None = None


@dataclass
class DatasourceContainerConfig:
    """A data source before it is loaded: settings and schema may be missing."""

    name: str
    datasource: BaseSource
    datasource_details: PodDetailsConfig | None = None
    data_config: PodDataConfig | None = None
    schema: str | Path | BitfountSchema | None = None


@dataclass
class DatasourceContainer:
    """A data source after it was loaded: nothing is missing."""

    name: str
    datasource: BaseSource
    datasource_details: PodDetailsConfig
    data_config: PodDataConfig
    schema: BitfountSchema


@dataclass
class MinimalDatasourceConfig:
    """What another process needs to open the same data source."""

    datasource_cls_name: str
    name: str
    datasource_args: dict[str, Any]
    file_system_filters: FileSystemFilterConfig | None
    data_split: DataSplitConfig | None


@dataclass
class MinimalSchemaGenerationConfig:
    """What another process needs to make a data source's schema."""

    datasource_name: str
    description: str | None
    column_descriptions: dict[str, dict[str, str]] | dict[str, str] | None
    ignore_cols: list[str] | None
    force_stypes: ForcedTypes | None


@dataclass
class MinimalSchemaUploadConfig:
    """What another process needs to publish a data source's schema.

    Keys are RSA public keys, as objects or as PEM or OpenSSH text. `to_json` and pickling write them
    as PEM text; `from_json` gives key objects.
    """

    public_metadata: PodPublicMetadata
    access_manager_public_key: RSAPublicKey | str
    pod_public_key: RSAPublicKey | str

    @property
    def access_manager_public_key_pem(self) -> str:
        """The access manager's key as PEM text (SubjectPublicKeyInfo)."""
        return _pem("access_manager_public_key", self.access_manager_public_key)

    @property
    def pod_public_key_pem(self) -> str:
        """The pod's key as PEM text (SubjectPublicKeyInfo)."""
        return _pem("pod_public_key", self.pod_public_key)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; `from_json` reads it."""
        return {
            "public_metadata": asdict(self.public_metadata),
            "access_manager_public_key": self.access_manager_public_key_pem,
            "pod_public_key": self.pod_public_key_pem,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidArgument: a key is missing or unknown, or is no RSA public key.
        """
        try:
            metadata = PodPublicMetadata(**document["public_metadata"])
            keys = [document[name] for name in ("access_manager_public_key", "pod_public_key")]
        except (KeyError, TypeError):
            raise InvalidArgument(
                "the schema upload document has other keys than public_metadata, "
                "access_manager_public_key and pod_public_key, or other public metadata than to_json writes"
            ) from None
        return cls(metadata, _key("access_manager_public_key", keys[0]), _key("pod_public_key", keys[1]))

    def __reduce__(self) -> tuple[Any, ...]:
        # Key objects of `cryptography` cannot be pickled.
        return type(self).from_json, (self.to_json(),)


def _key(field_name: str, text: object) -> RSAPublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    expected = InvalidArgument(f"{field_name} is not an RSA public key; expected PEM or OpenSSH text")
    if not isinstance(text, str):
        raise expected
    load = load_ssh_public_key if text.startswith("ssh-") else load_pem_public_key
    try:
        key = load(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise expected from None
    if not isinstance(key, RSAPublicKey):
        raise expected
    return key


def _pem(field_name: str, key: RSAPublicKey | str) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    loaded = _key(field_name, key) if isinstance(key, str) else key
    return loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
