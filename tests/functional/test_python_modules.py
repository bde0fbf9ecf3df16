"""`create_app` in a module of the user's, in every way of starting it; nothing here needs a Kafka."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.further import further
from tests.integration.support.worker import clean_environment
from tests.ports import own_port

SETTINGS = 2
FAILED = 1

MODULE = """
import sys

from app import create_app

def predict(station_id, module_input):
    return 1

app = create_app(callback=predict, result_handler="handlers:publish", partitions=3)

if __name__ == "__main__":
    app.main()
"""
HANDLERS = "def publish(batch_id, batch_results_list): ...\n"
WAYS = {
    "faust": ("-c", "import sys; from faust.cli.faust import cli; cli()", "-A", "mymodule"),
    "python -m faust": ("-m", "faust", "-A", "mymodule"),
    "batch-aggregator": ("-m", "batch_aggregator", "-A", "mymodule"),
    "python mymodule.py": ("mymodule.py",),
}


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python in that folder, which is not on its path."""
    own = {"broker": f"127.0.0.1:{own_port()}"}  # nobody listens there
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env=clean_environment(**(own | settings)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mymodule.py").write_text(MODULE)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    return tmp_path


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_folder_that_one_stands_in_is_found_in_every_way_of_starting(way: tuple[str, ...], folder: Path) -> None:
    done = run(folder, *way, "check")
    assert "ok     AGG_CALLBACK        mymodule:predict" in done.stdout, done.stdout + done.stderr
    assert "ok     AGG_RESULT_HANDLER  handlers:publish" in done.stdout
    assert "WRONG  broker" in done.stdout
    assert done.returncode == FAILED


@pytest.mark.parametrize("way", [WAYS["faust"], *further(*((way,) for name, way in WAYS.items() if name != "faust"))])
def test_a_worker_finds_in_the_folder_what_is_imported_after_the_program(way: tuple[str, ...], folder: Path) -> None:
    (folder / "mymodule.py").write_text(
        "from app import create_app\napp = create_app(callback='model:predict', broker_patience=0)\n"
        "if __name__ == '__main__':\n    app.main()\n"
    )
    (folder / "model.py").write_text("def predict(station_id, module_input):\n    return {}\n")
    done = run(folder, *way, "worker")
    assert "model" not in done.stderr, done.stderr
    assert done.returncode == FAILED  # there is no broker


def test_the_environment_wins_over_the_object(folder: Path) -> None:
    done = run(folder, *WAYS["python -m faust"], "check", callback="handlers:nothing")
    assert "WRONG  AGG_CALLBACK" in done.stdout
    assert "handlers has no attribute nothing" in done.stdout
    assert done.returncode == SETTINGS


@pytest.mark.parametrize("way", [*further((WAYS["python -m faust"],)), WAYS["batch-aggregator"]])
@pytest.mark.parametrize("command", [("worker",), ("send", "x.jsonl"), *further((("--help",),))])
def test_a_bad_keyword_is_told_in_a_line_and_ends_with_the_exit_code_of_settings(
    way: tuple[str, ...], command: tuple[str, ...], folder: Path
) -> None:
    (folder / "mymodule.py").write_text("from app import create_app\napp = create_app(batch_timout=1, fill='no')\n")
    done = run(folder, *way, *command)
    unknown, bad = done.stderr.splitlines()
    assert unknown.startswith("batch_timout: unknown keyword; did you mean batch_timeout")
    assert bad == "fill='no': must be 'zero', 'missing', 'forward' or 'linear'"
    assert done.returncode == SETTINGS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("callback='nowhere:predict'", "callback='nowhere:predict': there is no module nowhere"),
        *further(
            ("callback=lambda station, inputs: 1, executor='process'", "callback=<lambda>: can't be imported by"),
            ("callback=wait()", "callback=...: this is a call of wait; give the function itself, without parentheses"),
        ),
    ],
)
def test_a_worker_says_of_a_keyword_what_is_wrong_before_it_looks_for_a_broker(
    arguments: str, said: str, folder: Path
) -> None:
    (folder / "mymodule.py").write_text(
        "from app import create_app\ndef predict(station_id, module_input): ...\nasync def wait(): ...\n"
        f"app = create_app({arguments})\n"
    )
    done = run(folder, *WAYS["batch-aggregator"], "worker")
    (line,) = done.stderr.splitlines()
    assert line.startswith(said)
    assert done.returncode == SETTINGS


def test_check_finds_a_page_in_the_place_of_one_of_ours(folder: Path) -> None:
    page = "@app.page('/batches')\nasync def mine(view, request): ...\n"
    (folder / "mymodule.py").write_text(MODULE.partition("if __name__")[0] + page)
    done = run(folder, *WAYS["python -m faust"], "check")
    assert "WRONG  pages               @app.page('/batches'): this application serves a page there" in done.stdout
    assert done.returncode == SETTINGS


@pytest.mark.parametrize(
    ("way", "called"),
    [
        (WAYS["python mymodule.py"], "python mymodule.py"),
        *further(((*WAYS["batch-aggregator"][:2], "-A", "app"), "batch-aggregator")),
        *further((WAYS["batch-aggregator"], "batch-aggregator -A mymodule")),
        ((*WAYS["batch-aggregator"][:2], "outputs", "--app=mymodule"), "batch-aggregator -A mymodule"),
    ],
)
def test_help_writes_commands_as_they_were_called(way: tuple[str, ...], called: str, folder: Path) -> None:
    said = run(folder, *way, *([] if "outputs" in way else ["outputs"]), "--help").stdout
    assert f"\n  {called} outputs --since 10m\n" in said


def test_a_program_that_calls_it_gets_an_error_to_catch(folder: Path) -> None:
    program = "from app import create_app\nfrom app.settings import SettingsError\n"
    program += "try:\n    create_app(partitions=0)\nexcept SettingsError as error:\n    print(error.problems)\n"
    (folder / "program.py").write_text(program)
    assert run(folder, "program.py").stdout == "('partitions=0: must be greater than 0',)\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "@app.agent(app.topic('SCHEDULE-STATION-REALTIME-DATA'))",
            "topic SCHEDULE-STATION-REALTIME-DATA: the pipeline",
        ),
        *further(
            ("@app.command()\nasync def check(): ...", "@app.command: check is a command of this application"),
            ("@app.timer(5)\ndef tick(): ...", "@app.timer: tick must be an `async def`"),
        ),
    ],
)
def test_what_would_harm_the_pipeline_is_refused_where_it_is_written(line: str, said: str, folder: Path) -> None:
    with (folder / "mymodule.py").open("a") as module:
        module.write(f"\n{line}\nasync def mine(stream):\n    async for _ in stream: pass\n")
    done = run(folder, *WAYS["python -m faust"], "worker")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == SETTINGS


def test_a_process_can_not_import_what_a_program_of_its_own_holds(folder: Path) -> None:
    """`python mymodule.py`: a process would have to run the program once more."""
    program = MODULE.replace("app.main()", "from app.testing import TopologyTestDriver; TopologyTestDriver.of(app)")
    (folder / "mymodule.py").write_text(program)
    done = run(folder, "mymodule.py", executor="process")
    assert "callback=predict: can't be imported by another process" in done.stderr
    assert "python program.py" in done.stderr


@pytest.mark.parametrize("other", ["tables.py", *further("tables/__init__.py")])
def test_another_package_of_the_name_tables_is_told_in_a_line(other: str, folder: Path) -> None:
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("")
    program = "import sys; sys.path.insert(0, ''); from faust.cli.faust import cli; cli()"
    for arguments in (("-c", program, "-A", "app"), ("-c", program, "-A", "mymodule")):
        done = run(folder, *arguments, "check")
        (line,) = done.stderr.splitlines()
        assert line.startswith("the package `tables` of this application")
        assert "batch-aggregator" in line
        assert done.returncode == SETTINGS
    done = run(folder, *WAYS["batch-aggregator"], "check")
    assert "mymodule:predict" in done.stdout, done.stderr


TWO = """
from app import create_app

def predict(station_id, module_input):
    return 1

first = create_app(callback=predict, module="alpha")
second = create_app(callback=predict, module="beta")
"""


def test_commands_never_act_on_another_application_than_the_one_named(folder: Path) -> None:
    (folder / "two.py").write_text(TWO)
    done = run(folder, *WAYS["batch-aggregator"][:-1], "two:first", "check")
    assert done.returncode == SETTINGS
    assert "-A names the application batch-aggregator-alpha, and commands are those of the one made last" in done.stderr
    assert "Traceback" not in done.stderr
    last = run(folder, *WAYS["batch-aggregator"][:-1], "two:second", "check")
    assert "module beta" in last.stdout, last.stdout + last.stderr


def test_a_handler_of_single_stations_is_not_taken_for_one_of_batches(folder: Path) -> None:
    (folder / "handlers.py").write_text("def publish(station_id, module_input, result): ...\n")
    done = run(folder, *WAYS["batch-aggregator"], "check")
    assert (
        "AGG_STATION_RESULT_HANDLER is called as station_result_handler(station_id, module_input, result)"
        in done.stdout
    )
    assert done.returncode == SETTINGS


def test_a_handler_of_single_stations_without_topics_of_single_stations_is_noted(folder: Path) -> None:
    (folder / "handlers.py").write_text("def publish(station_id, module_input, result): ...\n")
    module = MODULE.replace("result_handler=", "station_result_handler=")
    for topics, expected in (("", "note   AGG_STATION_RESULT_HANDLER"), ("T", "ok     AGG_STATION_RESULT_HANDLER")):
        (folder / "mymodule.py").write_text(module.replace("partitions=3", f"passthrough_topics={topics!r}"))
        done = run(folder, *WAYS["batch-aggregator"], "check")
        assert expected in done.stdout, done.stdout + done.stderr
