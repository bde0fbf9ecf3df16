"""The streams' work: what each agent reads, on its way into the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.kafka.delivery import Intake
from app.messages.message import Delivery
from app.pipeline.build import Agent, agents_of

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

__all__ = ["Intakes"]


class Intakes:
    """One for each agent of the application, by the agent's name."""

    def __init__(self, app: AggregatorApp) -> None:
        self._app = app
        self.agents = agents_of(app.settings)
        self._intakes = {agent.name: self._intake(agent) for agent in self.agents}

    def __getitem__(self, name: str) -> Intake:
        return self._intakes[name]

    async def cancel(self) -> None:
        """End or drop what is in flight, within seconds."""
        pipeline = self._app.pipeline
        await asyncio.gather(*(self._intakes[agent.name].cancel(agent.grace(pipeline)) for agent in self.agents))

    def _intake(self, agent: Agent) -> Intake:
        async def handle(deliveries: Sequence[Delivery]) -> None:
            self._app.figures.read(agent.kind, [delivery.message for delivery in deliveries])
            await agent.handler(self._app.pipeline)(deliveries)

        return Intake(handle, self._app.is_current, self._app.fail)
