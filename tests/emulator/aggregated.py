"""An event for aggregate's handler in a process that tells its peak memory; ``PYTHONPATH`` is its package.

``python aggregated.py EVENT`` prints, last of all, one line of JSON: what failed, megabytes, seconds.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Context:
    """What Lambda says of an invocation."""

    aws_request_id = "direct"

    def get_remaining_time_in_millis(self) -> int:
        """As much as the function is given."""
        return 300_000


def main() -> None:
    """Make the tables, then hand the event over."""
    from lambdas import aggregate, compact  # noqa: PLC0415 - the package's, not this file's

    handlers: dict[str, Any] = {"aggregate": aggregate.handler, "compact": compact.handler}
    handlers["compact"]({"action": "tables"}, Context())
    began = time.monotonic()
    answer = handlers["aggregate"](json.loads(Path(sys.argv[1]).read_text()), Context())
    told = {
        "failed": answer["batchItemFailures"],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": time.monotonic() - began,
    }
    print(json.dumps(told))  # noqa: T201 - what whoever runs it reads


if __name__ == "__main__":
    main()
