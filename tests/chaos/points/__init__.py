"""The outbox killed at each named point between two effects: `make chaos POINTS=30`.

One concept a module: `points` (their names), `trap` (the end of a worker at one of them), `worker` (the application
whose ports are watched), `nursery` (starts it), `model` (its functions), `group` (one application at work, and its
kills), `check` (what came of it), `report` (the table).
"""
