"""Options of `faust worker` that this application does not use."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from faust.cli.worker import worker as command

from app.application import create_app
from app.settings import Settings
from app.worker.faust_command import AggregatorWorker

SETTINGS = 2  # exit code


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--web-port", "7000"], "--web-port is not used here: set AGG_WEB_PORT=7000"),
        (["-h", "10.0.0.1"], "--web-host is not used here: set AGG_WEB_HOST=10.0.0.1"),
        (["-b", "::1"], "--web-bind is not used here: set AGG_WEB_HOST=::1"),
        (["--without-web"], "--without-web is not used here"),
    ],
)
def test_an_option_that_would_not_be_obeyed_is_refused(option: list[str], said: str) -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "app", "worker", *option],
        env={**os.environ, "AGG_CALLBACK": "app.demo.model:callback"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert said in worker.stderr
    assert worker.returncode == SETTINGS


def test_the_banner_names_no_folder_and_no_web_driver(capsys: pytest.CaptureFixture[str]) -> None:
    app = create_app(Settings(callback="app.demo.model:callback", web_port=7001))
    worker = AggregatorWorker(app, loglevel="info")
    shown: Any = object.__new__(command)
    rows = dict(shown._banner_data(worker))
    assert rows["web"] == "http://127.0.0.1:7001"
    assert not rows.keys() & {"  web", "datadir", "appdir"}
    worker.carp("-INT- -INT-")
    assert capsys.readouterr() == ("", "")
