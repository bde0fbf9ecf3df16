"""Random faults against a real Kafka and real workers, and a checker that knows each result: `make chaos MINUTES=10`.

One concept a module: `expected` (what each batch has to give), `model` (the callback), `producer` and `journal` (what
was sent), `check` (what came of it), `proxy`, `brokers`, `workers`, `clock`, `world` (what can be hurt), `site` (all of
it, up), `flow` (when outputs come), `faults` (how it is hurt), `arena` (a run), `report` (the table).
"""
