"""`python -m app.devbroker`: a Kafka in the foreground, or only what it needs fetched."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from app.devbroker.broker import DevBroker
from app.devbroker.config import DevBrokerError
from app.devbroker.install import ensure_kafka, find_java


def _report(line: str) -> None:
    click.echo(line, err=True)


@click.group()
def cli() -> None:
    """A real Apache Kafka for development, on 127.0.0.1 only."""


@cli.command()
def install() -> None:
    """Fetch Kafka, if it is not there yet."""
    try:
        java, jars = find_java(), ensure_kafka(_report)
    except DevBrokerError as error:
        raise click.ClickException(str(error)) from error
    _report(f"Apache Kafka {jars.version} is in {jars.folder}; it will run on Java {java.version} ({java.path}).")


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port for clients; a free one by default.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the data; a temporary one by default.",
)
def run(port: int | None, data: Path | None) -> None:
    """Run Kafka until Ctrl-C or SIGTERM. Standard output gets one line, its address, when it is ready."""
    # SIGTERM as Ctrl-C: the `with` below then stops Kafka and removes its temporary data.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with DevBroker(data, port, report=_report) as broker:
            click.echo(broker.url)
            _report(f"Its data and logs are in {broker.data}. Ctrl-C stops it.")
            code = broker.wait()
            message = f"Kafka ended with exit code {code}.\n{broker.log_tail()}"
            raise click.ClickException(message)
    except KeyboardInterrupt:
        _report("Kafka has been stopped.")
    except DevBrokerError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    cli(prog_name="python -m app.devbroker")
