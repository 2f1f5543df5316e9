"""Bootstrap of measurements: the one place that puts together what experiments are made with."""

from __future__ import annotations

import time

from pipeline import keys
from pipeline.bootstrap import MAX_RECEIVES, Place
from pipeline.bootstrap_aws import AwsClients, aws_clients, open_aws_place
from pipeline.measure.address import check_echo, is_local
from pipeline.measure.experiments import Stand
from pipeline.measure.probes import Probes
from pipeline.measure.schedules import Schedules
from pipeline.queues.sqs import SqsBroker
from pipeline.settings import Settings


def open_stand(
    settings: Settings, *, lake: str, by: str, echo: str = "", clients: AwsClients | None = None
) -> tuple[Place, Stand]:
    """The deployment whose bucket is ``lake``, to measure in. Raises ``Misuse`` for a wrong ``echo``."""
    aws = clients if clients is not None else aws_clients(settings)
    # Sources are only read to be kept away from.
    place = open_aws_place(settings, lake=lake, clients=aws, with_sources=bool(echo))
    if echo:
        local = is_local(aws.lambda_.meta.endpoint_url)
        check_echo(echo, settings.contact, place.sources, local=local)
    name = settings.name
    stand = Stand(
        name=name,
        storage=place.storage,
        probes=Probes(aws.lambda_, name),
        schedules=Schedules(aws.scheduler, keys.schedule_group(name)),
        queue=SqsBroker(aws.sqs, max_receives=MAX_RECEIVES).queue(keys.probe_queue(name)),
        metrics=aws.cloudwatch,
        clock=place.clock,
        sleep=time.sleep,
        by=by,
        contact=settings.contact,
    )
    return place, stand
