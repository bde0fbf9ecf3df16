"""Record the topics of this version: `python -m tests.recorded`. What older versions have left stays as it is."""

from __future__ import annotations

from importlib.metadata import version

from tests.recorded.recording import FOLDER, record, say, write
from tests.recorded.scenarios import SCENARIOS


def main() -> None:
    """Write a file for each scenario into the folder of this version."""
    folder = FOLDER / version("station-batch-aggregator")
    folder.mkdir(exist_ok=True)
    for scenario in SCENARIOS:
        recording = record(scenario)
        file = folder / f"{scenario.name}.jsonl"
        write(recording, file)
        say(f"{file}: {len(recording.messages)} messages, {len(recording.expected['outputs'])} outputs")


if __name__ == "__main__":
    main()
