"""What things are called."""

from __future__ import annotations

import numpy as np
import pytest

from envs.commands import plural


@pytest.mark.parametrize("one", [1, np.int64(1)])
def test_counts_have_the_number_that_they_need(one: int) -> None:
    assert plural(one, "demonstration") == "1 demonstration"
    assert plural(one + 9, "demonstration") == "10 demonstrations"
