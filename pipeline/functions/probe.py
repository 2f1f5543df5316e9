"""Function probe: writes down what it runs on, as an experiment orders; it takes no command and runs none."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import msgspec
from structlog.contextvars import bound_contextvars

from pipeline import keys
from pipeline.bootstrap import new_runner
from pipeline.errors import Misuse, PipelineError
from pipeline.functions.runtime import Context, Opened, open_function
from pipeline.measure.machine import read_machine, since_start
from pipeline.measure.probing import Environment, Function, Hands, probe, read_order
from pipeline.queues.mapped import deliveries
from pipeline.queues.protocol import Received
from pipeline.queues.sqs import SqsBroker
from stages.measure import Order, Reading


class ProbeContext(Context, Protocol):
    """What Lambda says of an invocation and of its function."""

    function_name: str
    memory_limit_in_mb: str | int


class ProbeFunction:
    """The handler of one environment: an order by itself, or messages of the probes' queue.

    An order gives its reading. Raises ``Misuse`` for an event that is neither.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._environment = Environment(clock(), since_start())
        self._opened: tuple[Opened, Hands] | None = None

    def __call__(self, event: Any, context: ProbeContext) -> Any:
        """One invocation."""
        # Before all else: making clients takes longer than all the rest of a first invocation.
        started = self._clock()
        queued = isinstance(event, dict) and "Records" in event
        # Before anything is opened: what is no order costs nothing and reaches nothing.
        order = None if queued else read_order(event)
        if self._opened is None:
            self._opened = _open()
        opened, hands = self._opened
        function = Function(context.function_name, int(context.memory_limit_in_mb))
        with bound_contextvars(request_id=context.aws_request_id):
            if order is not None:
                return msgspec.to_builtins(self._probe(order, function, opened, hands, started=started))
            failed = []
            for received in deliveries(event):
                if not self._probed(received, function, opened, hands, started):
                    failed.append(received.receipt.message_id)
                started = self._clock()
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    def _probed(
        self, received: Received, function: Function, opened: Opened, hands: Hands, started: float
    ) -> bool:
        """Whether the message's probe was done; one that was not comes again, and ends among the dead."""
        came = {"started": started, "sent_at": received.sent_at or None, "receives": received.receives}
        try:
            self._probe(read_order(_decoded(received.body)), function, opened, hands, **came)
        except PipelineError as error:
            opened.log.warning("a probe failed", error=str(error), receives=received.receives)
            return False
        return True

    def _probe(self, order: Order, function: Function, opened: Opened, hands: Hands, **came: Any) -> Reading:
        reading = probe(order, self._environment, function, hands, **came)
        opened.log.info("probed", probe=order.probe, cold=reading.cold, echo_error=reading.echo_error)
        if reading.fired > 1:
            opened.log.warning("a probe was told again to run; its first answer counts", probe=order.probe)
        return reading


def _open() -> tuple[Opened, Hands]:
    opened = open_function("probe", with_sources=False)
    place, settings = opened.place, opened.settings
    queue = SqsBroker(opened.clients.sqs).queue(keys.probe_queue(settings.name))
    hands = Hands(
        clock=place.clock,
        sleep=time.sleep,
        read=read_machine,
        ask=partial(ask, endpoint=opened.clients.sqs.meta.endpoint_url),
        queue=queue,
        storage=place.storage,
    )
    return opened, hands


def ask(order: Order, endpoint: str) -> tuple[str | None, str | None]:
    """Ask with a connection of its own: the address of one that was kept would be an old one.

    Raises ``Misuse`` for a URL that is no echo: an order may come from elsewhere than ``serpline measure``.
    """
    # Only where an echo is asked: the client takes longer to import than all the rest of a probe.
    from pipeline.http_client import AiohttpClient  # noqa: PLC0415
    from pipeline.measure.address import ask_echo, check_echo_url, is_local  # noqa: PLC0415
    from pipeline.source_files import user_agent  # noqa: PLC0415

    check_echo_url(order.echo, local=is_local(endpoint))

    async def asked() -> tuple[str | None, str | None]:
        client = AiohttpClient()
        try:
            return await ask_echo(client, order.echo, user_agent(version("serpline"), order.contact))
        finally:
            await client.close()

    with new_runner() as runner:
        return runner.run(asked())


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Misuse(f"a message of the probes' queue is no JSON: {error}") from error
