"""A frame's text never leaves a pod: an update is numbers of one agreed type, or nothing is sent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from secure_agg.errors import SchemaMismatchError
from secure_agg.transitions import PodState
from tests.secure_agg.table import Setting, Table

FRAME = pd.DataFrame({"age": [61.0, 70.5], "letters": [3.0, 4.5], "name": ["Canary Beispiel", "Ada Canary"]})


@pytest.mark.parametrize(
    "columns",
    [["age", "letters", "name"], ["name"], ["age", "name"]],
    ids=["all", "text alone", "one of each"],
)
@pytest.mark.parametrize("as_type", [object, str], ids=["objects", "text"])
def test_dataframe_text_columns_not_sent(columns: list[str], as_type: type) -> None:
    values = FRAME[columns].to_numpy(as_type).ravel()
    table = Table(Setting(pods=3, length=len(values)))
    invitation = table.start()["bath"]
    table.updates["bath"] = values
    with pytest.raises(SchemaMismatchError) as refused:
        table.ask("bath", invitation)
    assert "Canary" not in f"{refused.value!r} {refused.value}"
    assert refused.value.__cause__ is None
    assert table.clients["bath"].state is PodState.ABORTED
    assert "bath" not in table.journals


def test_numeric_columns_of_a_frame_are_added() -> None:
    table = Table(Setting(pods=3, length=4, parameters={"clip": 128.0}))
    numbers = FRAME.select_dtypes("number")
    table.updates = dict.fromkeys(table.names, numbers.to_numpy().ravel())
    result = table.run()
    assert np.abs(result.mean.reshape(numbers.shape) - numbers.to_numpy()).max() <= result.report.error_bound
