"""The workers of a group, as the broker knows them: each tells where its web is as it joins (`AggregatorAssignor`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import for_code

from app.kafka.client import administering
from app.settings import Settings

PAUSE = 0.1  # seconds, while the group is being balanced anew: what its members have told is not told then


async def worker_urls(settings: Settings) -> list[str]:
    """Return the URLs of the webs of all workers that are in the group, each once; none where no worker is.

    Waits for a rebalance that is under way, however long it takes.

    Raises:
        KafkaError: there is no broker, or it refuses us.
    """
    async with administering(settings) as admin:
        while members := await _members(admin, settings.app_id):
            if urls := urls_of(members):
                return urls
            await asyncio.sleep(PAUSE)
    return []


async def _members(admin: AIOKafkaAdminClient, group: str) -> list[bytes]:
    """Return what each member of a group has told when it joined."""
    (answer,) = await admin.describe_consumer_groups([group])
    error, _group, _state, _type, _protocol, members, *_ = answer.groups[0]
    if error:
        raise for_code(error)
    return [metadata for _id, _client, _host, metadata, _assignment in members]


def urls_of(told: Iterable[bytes]) -> list[str]:
    """Return the URLs in what members have told, each once; who is no worker, or has not told yet, has none."""
    urls: dict[str, None] = {}
    for metadata in told:
        try:
            url = orjson.loads(ConsumerProtocolMemberMetadata.decode(metadata).user_data)["url"]
        except (ValueError, LookupError, TypeError):
            continue
        if isinstance(url, str) and url:
            urls[url.rstrip("/")] = None
    return list(urls)
