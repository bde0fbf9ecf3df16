"""What tests of all folders share: a real Kafka for those that need one."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from app.testing import TopologyTestDriver
from tests.shared_brokers import CREATING, STRICT, Brokers, SharedBroker, ask_for_broker

# Settings of whoever runs the tests are none of their business, and none of the processes' that they start.
for name in [name for name in os.environ if name.startswith(("AGG_", "FAUST_", "MODEL_", "OTEL_"))]:
    del os.environ[name]

# What runs in a thread is waited for as long as a busy machine takes; a test in which something hangs there says how
# long.
vars(TopologyTestDriver)["__init__"].__kwdefaults__["thread_patience"] = 60.0

# No example has to be quick: on a busy machine any may take longer than Hypothesis's 200 ms.
settings.register_profile("busy", parent=settings(), deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("busy")

# A shell that starts something in the background has it ignore SIGINT, and all that it starts: the tests that send one
# would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection(session: pytest.Session) -> None:
    """Where files run side by side: import them from another one on in each process.

    In a fresh clone pytest rewrites the asserts of each module, which takes twice as long as all else that comes before
    the first test; what one process has rewritten, the others read.
    """
    own: dict[str, Any] = getattr(session.config, "workerinput", {})
    if not own:
        return
    root = session.config.rootpath
    folders = [Path(argument).absolute() for argument in session.config.args]
    files = [file.relative_to(root) for folder in folders for file in sorted(folder.rglob("test_*.py"))]
    first = len(files) * int(own["workerid"].removeprefix("gw")) // own["workercount"]
    for file in files[first:] + files[:first]:
        with suppress(Exception, pytest.skip.Exception):  # pytest tells it when it comes there
            importlib.import_module(".".join(file.with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Leave what has been imported and collected, a million objects, out of each later look for garbage."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files run side by side: those first that wait for a Kafka or a browser.

    Their waits are filled by what the others do, and at the end there are only short files, so that no process is left
    alone with a long one.
    """
    if hasattr(config, "workerinput"):  # of one of pytest-xdist's processes
        items.sort(key=lambda item: item.get_closest_marker("kafka") is None and "browser" not in item.path.parts)


@pytest.fixture(autouse=True)
def event_loops_as_they_were() -> Iterator[None]:
    """Give each test asyncio's own event loops: `create_app` makes AGG_EVENT_LOOP's those of the process."""
    before = asyncio.events._event_loop_policy  # type: ignore[attr-defined]  # the public name is deprecated in 3.14
    yield
    asyncio.events._event_loop_policy = before  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Give each test the loggers as it found them: some take a command's or a worker's set-up for the process's."""
    manager = logging.root.manager

    def state() -> dict[logging.Logger, tuple[int, bool, Sequence[Any]]]:
        loggers = [logging.root, *manager.loggerDict.values()]
        return {one: (one.level, one.disabled, one.filters[:]) for one in loggers if isinstance(one, logging.Logger)}

    before, disabled = state(), manager.disable
    yield
    logging.disable(disabled)
    for logger, now in state().items():
        was = before.get(logger, now)  # a library's own that it has just made stays as it is
        if now != was:
            level, logger.disabled, logger.filters[:] = was
            logger.setLevel(level)


# -- Kafka -------------------------------------------------------------------------------------------------------------

_BROKERS = pytest.StashKey[Brokers]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the brokers of the run; pytest-xdist's own process has them for all of its others."""
    if not hasattr(config, "workerinput"):
        brokers = config.stash[_BROKERS] = Brokers()
        if config.getoption("numprocesses", None):
            brokers.serve()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one of pytest-xdist's processes where brokers are to be had."""
    node.workerinput["brokers"] = node.config.stash[_BROKERS].address


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what has been started."""
    if _BROKERS in config.stash:
        config.stash[_BROKERS].close()


def _shared(config: pytest.Config, kind: str) -> SharedBroker:
    if hasattr(config, "workerinput"):
        return ask_for_broker(config.workerinput["brokers"], kind)
    return config.stash[_BROKERS].get(kind)


@pytest.fixture(scope="session")
def kafka_broker(pytestconfig: pytest.Config) -> SharedBroker:
    """One running Kafka for the whole run; a test that stops or kills its broker starts one of its own."""
    return _shared(pytestconfig, CREATING)


@pytest.fixture(scope="session")
def strict_broker(pytestconfig: pytest.Config) -> SharedBroker:
    """A Kafka that creates no topic by itself, unlike the other of the run, for tests that do not stop it."""
    return _shared(pytestconfig, STRICT)
