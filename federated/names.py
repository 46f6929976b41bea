"""The names that a task may use, and the answers that a pod may give to it.

A member's value is ``bitfount.<name>``: what travels as ``class_name`` and stands as ``name`` in a
task file. The bare name is read too. What runs each name is in `registry`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Self

PREFIX = "bitfount."

# Names of a later release of the reference, for a component it renamed.
_RENAMED = {"EHRPatientInfoDownloadAlgorithm": "NextGenPatientInfoDownloadAlgorithm"}


class _Named(Enum):
    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        bare = value.removeprefix(PREFIX)
        return cls.__members__.get(_RENAMED.get(bare, bare))


class AggregatorType(_Named):
    """How the pods' updates become one."""

    Aggregator = "bitfount.Aggregator"
    SecureAggregator = "bitfount.SecureAggregator"


class ProtocolType(_Named):
    """Which steps a task runs, and what crosses between pod and modeller."""

    BasicOCTProtocol = "bitfount.BasicOCTProtocol"
    DataExtractionProtocolCharcoal = "bitfount.DataExtractionProtocolCharcoal"
    FederatedAveraging = "bitfount.FederatedAveraging"
    FluidVolumeScreeningProtocol = "bitfount.FluidVolumeScreeningProtocol"
    GAScreeningProtocol = "bitfount.GAScreeningProtocol"
    GAScreeningProtocolAmethyst = "bitfount.GAScreeningProtocolAmethyst"
    GAScreeningProtocolBronze = "bitfount.GAScreeningProtocolBronze"
    GAScreeningProtocolBronzeWithEHR = "bitfount.GAScreeningProtocolBronzeWithEHR"
    GAScreeningProtocolCharcoal = "bitfount.GAScreeningProtocolCharcoal"
    GAScreeningProtocolJade = "bitfount.GAScreeningProtocolJade"
    InSiteInsightsProtocol = "bitfount.InSiteInsightsProtocol"
    InferenceAndCSVReport = "bitfount.InferenceAndCSVReport"
    InferenceAndImageOutput = "bitfount.InferenceAndImageOutput"
    InferenceAndReturnCSVReport = "bitfount.InferenceAndReturnCSVReport"
    InstrumentedInferenceAndCSVReport = "bitfount.InstrumentedInferenceAndCSVReport"
    NextGenSearchProtocol = "bitfount.NextGenSearchProtocol"
    ResultsOnly = "bitfount.ResultsOnly"
    RetinalDiseaseProtocolCobalt = "bitfount.RetinalDiseaseProtocolCobalt"


class AlgorithmType(_Named):
    """What a task computes."""

    BscanImageAndMaskGenerationAlgorithm = "bitfount.BscanImageAndMaskGenerationAlgorithm"
    CSVReportAlgorithm = "bitfount.CSVReportAlgorithm"
    CSVReportGeneratorAlgorithm = "bitfount.CSVReportGeneratorAlgorithm"
    CSVReportGeneratorOphthalmologyAlgorithm = "bitfount.CSVReportGeneratorOphthalmologyAlgorithm"
    EHRPatientQueryAlgorithm = "bitfount.EHRPatientQueryAlgorithm"
    ETDRSAlgorithm = "bitfount.ETDRSAlgorithm"
    FederatedModelTraining = "bitfount.FederatedModelTraining"
    FluidVolumeCalculationAlgorithm = "bitfount.FluidVolumeCalculationAlgorithm"
    FoveaCoordinatesAlgorithm = "bitfount.FoveaCoordinatesAlgorithm"
    GATrialCalculationAlgorithm = "bitfount.GATrialCalculationAlgorithm"
    GATrialCalculationAlgorithmAmethyst = "bitfount.GATrialCalculationAlgorithmAmethyst"
    GATrialCalculationAlgorithmBronze = "bitfount.GATrialCalculationAlgorithmBronze"
    GATrialCalculationAlgorithmCharcoal = "bitfount.GATrialCalculationAlgorithmCharcoal"
    GATrialCalculationAlgorithmJade = "bitfount.GATrialCalculationAlgorithmJade"
    GATrialPDFGeneratorAlgorithm = "bitfount.GATrialPDFGeneratorAlgorithm"
    GATrialPDFGeneratorAlgorithmAmethyst = "bitfount.GATrialPDFGeneratorAlgorithmAmethyst"
    GATrialPDFGeneratorAlgorithmJade = "bitfount.GATrialPDFGeneratorAlgorithmJade"
    HuggingFaceImageClassificationInference = "bitfount.HuggingFaceImageClassificationInference"
    HuggingFaceImageSegmentationInference = "bitfount.HuggingFaceImageSegmentationInference"
    HuggingFacePerplexityEvaluation = "bitfount.HuggingFacePerplexityEvaluation"
    HuggingFaceTextClassificationInference = "bitfount.HuggingFaceTextClassificationInference"
    HuggingFaceTextGenerationInference = "bitfount.HuggingFaceTextGenerationInference"
    ImageSelectionAlgorithm = "bitfount.ImageSelectionAlgorithm"
    ModelEvaluation = "bitfount.ModelEvaluation"
    ModelInference = "bitfount.ModelInference"
    ModelTrainingAndEvaluation = "bitfount.ModelTrainingAndEvaluation"
    NextGenPatientInfoDownloadAlgorithm = "bitfount.NextGenPatientInfoDownloadAlgorithm"
    PrivateSqlQuery = "bitfount.PrivateSqlQuery"
    RecordFilterAlgorithm = "bitfount.RecordFilterAlgorithm"
    ReduceCSVAlgorithmCharcoal = "bitfount.ReduceCSVAlgorithmCharcoal"
    S3UploadAlgorithm = "bitfount.S3UploadAlgorithm"
    SqlQuery = "bitfount.SqlQuery"
    TIMMFineTuning = "bitfount.TIMMFineTuning"
    TIMMInference = "bitfount.TIMMInference"
    TrialInclusionCriteriaMatchAlgorithm = "bitfount.TrialInclusionCriteriaMatchAlgorithm"
    TrialInclusionCriteriaMatchAlgorithmAmethyst = "bitfount.TrialInclusionCriteriaMatchAlgorithmAmethyst"
    TrialInclusionCriteriaMatchAlgorithmBronze = "bitfount.TrialInclusionCriteriaMatchAlgorithmBronze"
    TrialInclusionCriteriaMatchAlgorithmCharcoal = "bitfount.TrialInclusionCriteriaMatchAlgorithmCharcoal"
    TrialInclusionCriteriaMatchAlgorithmJade = "bitfount.TrialInclusionCriteriaMatchAlgorithmJade"


class TaskContext(Enum):
    """On which side of a task the code runs. The name goes on a wire, never the number."""

    MODELLER = auto()
    WORKER = auto()


class _PodResponseType(Enum):
    """A pod's answer to a task. The name goes on a wire, never the number."""

    ACCEPT = auto()
    NO_ACCESS = auto()
    INVALID_PROOF_OF_IDENTITY = auto()
    UNAUTHORISED = auto()
    NO_PROOF_OF_IDENTITY = auto()
    NO_DATA = auto()
    INCOMPATIBLE_DATASOURCE = auto()
    TASK_SETUP_ERROR = auto()
    TASK_TIMEOUT = auto()
    MISSING_EHR_CONNECTION = auto()
    DATASOURCE_INACCESSIBLE = auto()

    @property
    def sentence(self) -> str:
        """The answer in words, the same for every task."""
        return _SENTENCES[self]


_SENTENCES = {
    _PodResponseType.ACCEPT: "The pod takes the task.",
    _PodResponseType.NO_ACCESS: "The pod's owner has not given access for this task.",
    _PodResponseType.INVALID_PROOF_OF_IDENTITY: "The modeller's proof of identity does not hold.",
    _PodResponseType.UNAUTHORISED: "The modeller may not run this task on this pod.",
    _PodResponseType.NO_PROOF_OF_IDENTITY: "The modeller sent no proof of identity.",
    _PodResponseType.NO_DATA: "The pod has no data for this task.",
    _PodResponseType.INCOMPATIBLE_DATASOURCE: "The task cannot use this pod's kind of data source.",
    _PodResponseType.TASK_SETUP_ERROR: "The pod could not set the task up; its own log says why.",
    _PodResponseType.TASK_TIMEOUT: "The task reached the pod too late.",
    _PodResponseType.MISSING_EHR_CONNECTION: "The task needs an EHR, and this pod has none connected.",
    _PodResponseType.DATASOURCE_INACCESSIBLE: "The pod cannot reach its data source at present.",
}

# The answers that an access manager may give; the others are the pod's own.
ACCESS_CODES = frozenset(
    {
        _PodResponseType.ACCEPT,
        _PodResponseType.NO_ACCESS,
        _PodResponseType.INVALID_PROOF_OF_IDENTITY,
        _PodResponseType.UNAUTHORISED,
        _PodResponseType.NO_PROOF_OF_IDENTITY,
    }
)
