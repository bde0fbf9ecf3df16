# own_payload.py
"""A result handler: it decides what is published for a batch, and may send to topics beside."""

from load_model import predict

from app import create_app


async def publish(batch_id, batch_results_list, context):
    """Return the message of the batch; None: nothing is published."""
    loads = {result["station_id"]: result["last_kw"] for result in batch_results_list}
    await context.send("PLANT-TOTALS", batch_id, {"kw": sum(loads.values()), "missing": context.meta["missing"]})
    return {"batch_id": batch_id, "loads": loads}


app = create_app(callback=predict, result_handler=publish)
