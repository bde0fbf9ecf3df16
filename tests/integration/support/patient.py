"""`faust` whose group waits long for a member that is away: a busy machine takes its time to start one."""

from __future__ import annotations

from faust.cli.faust import cli

from app import application

if __name__ == "__main__":
    application.SESSION_SECONDS = 25.0
    cli()
