# own_agent.py
"""An agent, a timer, a page and a command of your own beside the pipeline, as Faust's documentation shows them."""

import faust
from load_model import predict

from app import create_app

app = create_app(callback=predict, module="load_prediction")


class Price(faust.Record):
    """A message of your own topic."""

    station: str
    cents: int


prices = app.topic("PRICES", value_type=Price)
latest = {}


@app.agent(prices)
async def keep_price(stream):
    """Read a topic of your own; each message is acknowledged when the loop comes to the next one."""
    async for price in stream:
        latest[price.station] = price.cents


@app.timer(60.0)
async def tell_prices():
    """Run each minute."""
    print(f"{len(latest)} prices")


@app.page("/prices/{station}")
async def show_price(self, request, station):
    """Answer on the worker's own web, with its token."""
    return self.json({"station": station, "cents": latest.get(station)})


@app.command()
async def send_price():
    """Send a price: faust -A own_agent send-price."""
    await prices.send(value=Price(station="A", cents=42))
