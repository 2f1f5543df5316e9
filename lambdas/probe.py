"""Function probe: what it runs on, written down for ``serpline measure``."""

from __future__ import annotations

from pipeline.functions.probe import ProbeFunction

handler = ProbeFunction()
