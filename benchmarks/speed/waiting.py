"""The process of a trial that waits some `seconds`, its only setting; see `benchmarks.speed.engines`."""

from __future__ import annotations

import sys
import time

from benchmarks.messages import NOTHING, Order
from benchmarks.records import Provenance, Record


def main() -> None:
    order = Order.model_validate_json(sys.stdin.readline())
    time.sleep(float(str(order.trial.settings["seconds"])))
    made_by = Provenance(code_digest=order.code_digest, versions={}, machine={}, threads=1, commit="", started="")
    record = Record(trial=order.trial, status="ok", usage=NOTHING, provenance=made_by)
    sys.stdout.buffer.write(record.to_bytes())


if __name__ == "__main__":
    main()
