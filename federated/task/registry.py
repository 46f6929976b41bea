"""Which component runs a name: 53 rows and 6 aliases.

Rows are strings that are resolved on use, so reading the registry imports no component. A row that
``waits_for`` something is known and listed, and cannot be used yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Literal, Protocol, cast

from federated.errors import ConfigurationError, MissingExtra, NameWaits, UnknownName
from federated.names import PREFIX, AggregatorType, AlgorithmType, ProtocolType

logger = logging.getLogger(__name__)

Kind = Literal["algorithm", "protocol", "aggregator"]
State = Literal["available", "waiting"]
Name = AlgorithmType | ProtocolType | AggregatorType


@dataclass(frozen=True, slots=True)
class Row:
    """What runs one name.

    Args:
        component: the module; it has `worker`, `modeller` and `Parameters`.
        variant: a data file or a key of the module's table.
        waits_for: what has to come first, in words; None if it can be used.
        extra: the extra of this distribution that its users install.
    """

    component: str
    variant: str | None = None
    waits_for: str | None = None
    extra: str | None = None


class Component(Protocol):
    """What a component's module holds."""

    worker: Callable[..., Any]
    modeller: Callable[..., Any]
    Parameters: type


@dataclass(frozen=True, slots=True)
class RegisteredName:
    """One name as it is listed: built in, an alias, or brought by a plug-in.

    Args:
        name: the bare name.
        value: what stands in a task, ``bitfount.<name>``; a plug-in's own name as it is.
        alias_of: the bare name that it stands for.
    """

    name: str
    value: str
    kind: Kind
    row: Row
    alias_of: str | None = None

    @property
    def state(self) -> State:
        """Whether a task may use the name in this release."""
        return "available" if self.row.waits_for is None else "waiting"


STEPS = "tasks made of steps"

A, P, G = AlgorithmType, ProtocolType, AggregatorType


def _algorithm(
    module: str, variant: str | None = None, *, waits_for: str | None = None, extra: str | None = None
) -> Row:
    return Row(f"federated.algorithms.{module}", variant, waits_for, extra)


_COLOURS, _REPORTS = "the colours of the geographic atrophy trial", "reports for imaging trials"
_colour = partial(_algorithm, "criteria_match", waits_for=_COLOURS)
_image = partial(_algorithm, waits_for="OCT measurements", extra="retina")
_pdf = partial(_algorithm, "pdf_report", waits_for=_REPORTS, extra="report")
_table = partial(_algorithm, waits_for=_REPORTS)
_hugging_face = partial(_algorithm, "hugging_face", waits_for="Hugging Face models", extra="huggingface")
_timm = partial(_algorithm, "timm", waits_for="TIMM models", extra="huggingface")
_sql = partial(_algorithm, "sql", waits_for="SQL data sources", extra="sql")


def _steps(document: str) -> Row:
    return Row("federated.protocols.steps", document, STEPS)


ALGORITHMS: Mapping[AlgorithmType, Row] = MappingProxyType(
    {
        A.EHRPatientQueryAlgorithm: _algorithm("ehr_query"),
        A.NextGenPatientInfoDownloadAlgorithm: _algorithm("chart_download", waits_for="the NextGen adapter"),
        A.TrialInclusionCriteriaMatchAlgorithmAmethyst: _colour("amethyst"),
        A.TrialInclusionCriteriaMatchAlgorithmBronze: _colour("bronze"),
        A.TrialInclusionCriteriaMatchAlgorithmCharcoal: _colour("charcoal"),
        A.TrialInclusionCriteriaMatchAlgorithmJade: _colour("jade"),
        A.GATrialCalculationAlgorithmAmethyst: _image("retina_metrics", "amethyst"),
        A.GATrialCalculationAlgorithmBronze: _image("retina_metrics", "bronze"),
        A.GATrialCalculationAlgorithmCharcoal: _image("retina_metrics", "charcoal"),
        A.GATrialCalculationAlgorithmJade: _image("retina_metrics", "jade"),
        A.FoveaCoordinatesAlgorithm: _image("retina_metrics", "fovea"),
        A.ETDRSAlgorithm: _image("retina_metrics", "etdrs"),
        A.FluidVolumeCalculationAlgorithm: _image("retina_metrics", "fluid_volume"),
        A.BscanImageAndMaskGenerationAlgorithm: _image("bscan_images"),
        A.GATrialPDFGeneratorAlgorithmAmethyst: _pdf("amethyst"),
        A.GATrialPDFGeneratorAlgorithmJade: _pdf("jade"),
        A.CSVReportAlgorithm: _table("csv_report", "plain"),
        A.CSVReportGeneratorOphthalmologyAlgorithm: _table("csv_report", "ophthalmology"),
        A.ReduceCSVAlgorithmCharcoal: _table("csv_reduce", "charcoal"),
        A.HuggingFaceImageClassificationInference: _hugging_face("image_classification"),
        A.HuggingFaceImageSegmentationInference: _hugging_face("image_segmentation"),
        A.HuggingFacePerplexityEvaluation: _hugging_face("perplexity"),
        A.HuggingFaceTextClassificationInference: _hugging_face("text_classification"),
        A.HuggingFaceTextGenerationInference: _hugging_face("text_generation"),
        A.TIMMFineTuning: _timm("fine_tuning"),
        A.TIMMInference: _timm("inference"),
        A.FederatedModelTraining: _algorithm("training"),
        A.ModelTrainingAndEvaluation: _algorithm("local_training"),
        A.ModelEvaluation: _algorithm("evaluation"),
        A.ModelInference: _algorithm("inference"),
        A.SqlQuery: _sql("plain"),
        A.PrivateSqlQuery: _sql("private"),
        A.RecordFilterAlgorithm: _algorithm("selection", "records", waits_for="file data sources"),
        A.ImageSelectionAlgorithm: _algorithm("selection", "images", waits_for="file data sources"),
        A.S3UploadAlgorithm: _algorithm("upload", waits_for="uploads under the owner's policy"),
    }
)

PROTOCOLS: Mapping[ProtocolType, Row] = MappingProxyType(
    {
        P.FederatedAveraging: Row("federated.protocols.federated_averaging"),
        P.ResultsOnly: Row("federated.protocols.results_only"),
        P.DataExtractionProtocolCharcoal: _steps("data_extraction_charcoal"),
        P.FluidVolumeScreeningProtocol: _steps("fluid_volume"),
        P.GAScreeningProtocolAmethyst: _steps("ga_amethyst"),
        P.GAScreeningProtocolBronze: _steps("ga_bronze"),
        P.GAScreeningProtocolBronzeWithEHR: _steps("ga_bronze_with_ehr"),
        P.GAScreeningProtocolCharcoal: _steps("ga_charcoal"),
        P.GAScreeningProtocolJade: _steps("ga_jade"),
        P.InSiteInsightsProtocol: _steps("insite_insights"),
        P.InferenceAndCSVReport: _steps("inference_and_csv_report"),
        P.InferenceAndImageOutput: _steps("inference_and_image_output"),
        P.InferenceAndReturnCSVReport: _steps("inference_and_return_csv_report"),
        P.InstrumentedInferenceAndCSVReport: _steps("instrumented_inference_and_csv_report"),
        P.NextGenSearchProtocol: _steps("nextgen_search"),
        P.RetinalDiseaseProtocolCobalt: _steps("retinal_disease_cobalt"),
    }
)

AGGREGATORS: Mapping[AggregatorType, Row] = MappingProxyType(
    {
        G.Aggregator: Row("federated.aggregators.mean"),
        G.SecureAggregator: Row("federated.aggregators.secure"),
    }
)

ALIASES: Mapping[Name, Name] = MappingProxyType(
    {
        A.CSVReportGeneratorAlgorithm: A.CSVReportGeneratorOphthalmologyAlgorithm,
        A.GATrialCalculationAlgorithm: A.GATrialCalculationAlgorithmJade,
        A.GATrialPDFGeneratorAlgorithm: A.GATrialPDFGeneratorAlgorithmJade,
        A.TrialInclusionCriteriaMatchAlgorithm: A.TrialInclusionCriteriaMatchAlgorithmJade,
        P.BasicOCTProtocol: P.RetinalDiseaseProtocolCobalt,
        P.GAScreeningProtocol: P.GAScreeningProtocolJade,
    }
)

# With this argument a name runs another row than its own: the user's trial file takes the place of
# the colour that the bare name stands for, and a step document that of a single algorithm.
WITH_ARGUMENT: Mapping[tuple[Name, str], Row] = MappingProxyType(
    {
        (A.TrialInclusionCriteriaMatchAlgorithm, "trial"): _algorithm("criteria_match"),
        (P.ResultsOnly, "steps"): Row("federated.protocols.steps"),
    }
)

PLUGIN_GROUPS: Mapping[str, Kind] = MappingProxyType(
    {"trialveil.algorithms": "algorithm", "trialveil.protocols": "protocol"}
)


@cache
def built_in() -> Mapping[str, RegisteredName]:
    """The 59 names of this distribution by bare name, protocols after algorithms."""
    tables: tuple[tuple[Kind, type[Name], Mapping[Any, Row]], ...] = (
        ("algorithm", AlgorithmType, ALGORITHMS),
        ("protocol", ProtocolType, PROTOCOLS),
        ("aggregator", AggregatorType, AGGREGATORS),
    )
    entries = {}
    for kind, names, rows in tables:
        for member in names:
            target = ALIASES.get(member)
            row = rows[member if target is None else target]
            alias_of = None if target is None else target.name
            entries[member.name] = RegisteredName(member.name, str(member.value), kind, row, alias_of)
    return MappingProxyType(entries)


@cache
def plugins() -> Mapping[str, RegisteredName]:
    """Names that other installed distributions bring. A built-in name cannot be replaced.

    A name that is built in, stands under our prefix, or is brought twice is left out, with a warning.
    """
    found: dict[str, RegisteredName] = {}
    twice: set[str] = set()
    for group, kind in PLUGIN_GROUPS.items():
        for point in entry_points(group=group):
            if point.name in found:
                twice.add(point.name)
            if _is_reserved(point.name) or point.name in twice:
                logger.warning("A plug-in brings a name of %s that is taken; it is not used.", group)
                continue
            found[point.name] = _plugin(point, kind)
    return MappingProxyType({name: entry for name, entry in found.items() if name not in twice})


def _is_reserved(name: str) -> bool:
    return name.startswith(PREFIX) or name in built_in()


def _plugin(point: EntryPoint, kind: Kind) -> RegisteredName:
    # A protocol that is named with an attribute is a step document: the attribute is the path of its file.
    document = kind == "protocol" and bool(point.attr)
    row = Row("federated.protocols.steps", point.value) if document else Row(point.module)
    return RegisteredName(point.name, point.name, kind, row)


def entries() -> tuple[RegisteredName, ...]:
    """Every name, built in and brought by plug-ins, available or waiting."""
    return (*built_in().values(), *plugins().values())


def find(name: str) -> RegisteredName:
    """The entry of a name, whatever its state.

    Args:
        name: bare, or with the prefix ``bitfount.``; a plug-in's own name.

    Raises:
        UnknownName: there is no such name.
    """
    for kind in (AlgorithmType, ProtocolType, AggregatorType):
        try:
            return built_in()[kind(name).name]
        except ValueError:
            continue
    if name in plugins():
        return plugins()[name]
    known = [entry.name for entry in entries()]
    near = get_close_matches(name.removeprefix(PREFIX)[:60], known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f'; "trialveil list" shows all {len(known)}.'
    shown = "".join(char if char.isprintable() else "�" for char in name[:60])
    raise UnknownName(f'"{shown}" is not a name{hint}')


def resolve(name: str, arguments: Mapping[str, object] | None = None) -> Row:
    """The row that runs a name.

    Args:
        name: bare, or with the prefix; a plug-in's own name.
        arguments: the arguments that the task gives it; some name another row (``trial``).

    Raises:
        UnknownName: there is no such name.
        NameWaits: it is known, but not part of this release.
    """
    entry = find(name)
    for (member, argument), row in WITH_ARGUMENT.items():
        if entry.name == member.name and (arguments or {}).get(argument) is not None:
            return row
    if entry.row.waits_for is not None:
        raise NameWaits(entry.name, waits_for(entry) or entry.row.waits_for)
    return entry.row


def waits_for(entry: RegisteredName) -> str | None:
    """What a name waits for, in words, with the argument that makes it run today if there is one."""
    if entry.row.waits_for is None:
        return None
    today = [argument for member, argument in WITH_ARGUMENT if member.name == entry.name]
    return entry.row.waits_for + "".join(f" (with a '{argument}:' file it runs today)" for argument in today)


def load(row: Row) -> Component:
    """Import the module that runs a row.

    Raises:
        MissingExtra: a package of the row's extra is not installed.
        ConfigurationError: a plug-in's module cannot be imported or is no component.
    """
    try:
        module = import_module(row.component)
    except ImportError as error:
        if row.extra is not None:
            raise MissingExtra("This algorithm", row.extra) from error
        if row.component.startswith("federated."):
            raise
        raise ConfigurationError("A plug-in's module cannot be imported.") from error
    missing = [name for name in ("worker", "modeller", "Parameters") if not hasattr(module, name)]
    if missing:
        raise ConfigurationError(f"A component has no {', '.join(missing)}; expected all three.")
    return cast(Component, module)
