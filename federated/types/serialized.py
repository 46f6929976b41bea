"""What a task looks like on the wire, as plain dictionaries.

Only the keys that every class has are named here. A real payload also carries the fields that its
class declares (``epochs_between_parameter_updates``, …), so a reader must let other keys pass.

Postponed annotations would hide ``NotRequired`` from Python 3.11, so this module does without them.
"""

from typing import Any, NotRequired, TypedDict


class SerializedAggregator(TypedDict):
    """``class_name`` is an `AggregatorType` value."""

    class_name: str


class SerializedDataStructure(TypedDict, total=False):
    """Which table and columns an algorithm reads; ``table`` may differ from pod to pod."""

    table: str | dict[str, str]
    schema_requirements: dict[str, Any]
    compatible_datasources: list[str]


class SerializedModel(TypedDict):
    """``hub`` is a live object that the worker adds; it is never sent."""

    class_name: str
    hub: NotRequired[Any]
    schema: NotRequired[dict[str, Any]]
    datastructure: NotRequired[SerializedDataStructure]


class SerializedAlgorithm(TypedDict):
    """``class_name`` is an `AlgorithmType` value."""

    class_name: str
    model: NotRequired[SerializedModel]
    datastructure: NotRequired[SerializedDataStructure]


class SerializedProtocol(TypedDict):
    """``class_name`` is a `ProtocolType` value; ``algorithm`` is one algorithm or several in order."""

    class_name: str
    algorithm: SerializedAlgorithm | list[SerializedAlgorithm]
    aggregator: NotRequired[SerializedAggregator]
    primary_results_path: NotRequired[str]


class HuggingFaceImageClassificationInferenceDictionary(TypedDict):
    """One prediction of an image classifier."""

    image_classification: str


class TextGenerationDictionary(TypedDict):
    """One generated text."""

    generated_text: str


TextGenerationDefaultReturnType = list[list[TextGenerationDictionary]]
