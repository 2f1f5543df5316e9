"""A consumer to be killed: ``python -m tests.pipeline.queues.holder URL QUEUE hold|look``."""

from __future__ import annotations

import sys
import time

from pipeline.queues.kombu import KombuBroker

url, name, deed = sys.argv[1:]
queue = KombuBroker(url, max_receives=3, visibility=0.5).queue(name)
if deed == "hold":
    assert len(queue.receive(1, wait=20.0)) == 1
else:
    assert queue.receive(1, wait=0.1) == []
sys.stdout.write("ready\n")
sys.stdout.flush()
time.sleep(60.0)
