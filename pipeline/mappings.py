"""Event source mappings on AWS: begun and ceased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_SETTLED = {"Enabled": True, "Disabled": False}


class LambdaMappings:
    """Mappings by their uuid."""

    def __init__(self, client: LambdaClient) -> None:
        self._client = client

    def works(self, mapping: str) -> bool | None:
        """Whether it hands messages over; None while Lambda is changing it."""
        with translated(Unavailable, f"mapping {mapping}"):
            return _SETTLED.get(self._client.get_event_source_mapping(UUID=mapping)["State"])

    def switch(self, mapping: str, *, on: bool) -> None:
        """Have it begin or cease; one that is being changed is left for the next look."""
        with translated(Unavailable, f"mapping {mapping}"):
            try:
                self._client.update_event_source_mapping(UUID=mapping, Enabled=on)
            except ClientError as error:
                if code_of(error) != "ResourceInUseException":
                    raise
