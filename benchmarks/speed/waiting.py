"""The process of a trial that waits some `seconds`, or computes some `rounds`; see `benchmarks.speed.engines`."""

from __future__ import annotations

import sys
import time

from benchmarks.messages import NOTHING, Order
from benchmarks.records import Provenance, Record


def compute(rounds: int) -> None:
    """Python and small products, as in a trial's training; some 0.05 s a round."""
    import numpy as np  # waiting does without it

    matrix = np.eye(128, dtype=np.float32)
    for _ in range(rounds):
        for _ in range(500):
            matrix = matrix @ matrix
            sum(range(5000))


def main() -> None:
    order = Order.model_validate_json(sys.stdin.readline())
    time.sleep(float(str(order.trial.settings["seconds"])))
    compute(int(str(order.trial.settings["rounds"])))
    made_by = Provenance(code_digest=order.code_digest, versions={}, machine={}, threads=1, commit="", started="")
    record = Record(trial=order.trial, status="ok", usage=NOTHING, provenance=made_by)
    sys.stdout.buffer.write(record.to_bytes())


if __name__ == "__main__":
    main()
