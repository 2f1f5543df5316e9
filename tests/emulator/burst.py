"""microburst as it is, but that answers to HEAD keep their length; run by the emulator's own interpreter.

It takes the length off every answer, for what it does to bodies may change it. An answer to HEAD has no body,
and whoever asks by it how long an object is would read nothing of it: pyarrow does.
"""

from __future__ import annotations

import sys
from typing import Any

from aiohttp import web
from microburst import cli, forward

_handed_on = forward._stream_to_client  # its one writer of answers


async def _with_length(
    request: web.Request, status: int, headers: Any, mutator: Any, chunks: Any
) -> web.StreamResponse:
    if request.method != "HEAD":
        return await _handed_on(request, status, headers, mutator, chunks)
    kept = {name: value for name, value in headers.items() if name.lower() not in forward.HOP_BY_HOP}
    if (length := headers.get("Content-Length")) is not None:
        kept["Content-Length"] = length
    answer = web.StreamResponse(status=status, headers=kept)
    await answer.prepare(request)
    await answer.write_eof()
    return answer


forward._stream_to_client = _with_length

if __name__ == "__main__":
    sys.exit(cli.main())
