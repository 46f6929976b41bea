"""Changes that a mutation run made and no test noticed."""

from __future__ import annotations

import numpy as np
import pytest

from secure_agg import Parameters, simulate
from secure_agg.errors import MalformedMessage
from secure_agg.recovery import _combined
from secure_agg.uploads import LANE_WORDS, Seen, decode_upload, encode_upload, upload_header
from tests.secure_agg.table import NAMES


def test_the_clipped_fraction_is_of_all_coordinates_of_the_survivors() -> None:
    parameters = Parameters(length=8, clip=1.0, minimum_survivors=3, on_clip="clip")
    updates = {name: np.zeros(8) for name in NAMES[:5]}
    updates["bath"] = np.array([3.0, -3.0, 0, 0, 0, 0, 0, 0])
    assert simulate(parameters, updates).report.clipped_fraction == 2 / 40


@pytest.mark.parametrize("name", ["", "café"])
def test_an_upload_without_a_name_is_refused(name: str) -> None:
    words = np.zeros(4, "<u4")
    header = upload_header(Seen(bytes(32), bytes(32), bytes(32)), name, np.zeros(LANE_WORDS, "<u8"), words)
    with pytest.raises(MalformedMessage, match="names its pod in another form"):
        decode_upload(encode_upload(header, bytes(64), words), 4, 32)


def test_one_limb_that_is_none_leaves_every_owner_to_be_looked_at_alone() -> None:
    good = np.zeros((3, 16), np.uint32)
    too_large = np.full((3, 16), 65536, np.uint32)  # a constant polynomial, so the limb is 65536 too
    holders = (1, 2, 3)
    assert _combined({"bath": (holders, good)}, 3) == {"bath": bytes(32)}
    assert _combined({"bath": (holders, good), "hull": (holders, too_large)}, 3) == {}
