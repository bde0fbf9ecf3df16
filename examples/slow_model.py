# slow_model.py
"""The model of load_model.py, but station B takes its time: so there is something to wait for."""

import asyncio

import load_model


async def predict(station_id, module_input):
    """Answer for B after eight seconds, for the others at once."""
    await asyncio.sleep(8 if station_id == "B" else 0)
    return await load_model.predict(station_id, module_input)
