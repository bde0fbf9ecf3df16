"""What is said of `-A` where it leads to no application: one line, what is wrong and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faust.cli.base import find_app

from app.cli.programs import ProgramError, finding
from app.settings import SettingsError
from tests.integration.support.worker import clean_environment

CODE = {
    "prog_none": "x = 1",
    "prog_number": "app = 5",
    "prog_import": "import nosuch_thing",
    "prog_raises": "raise ValueError('boom')",
    "prog_syntax": "def f(:",
    "prog_attribute": "import os\nos.nothing_like_that",
    "prog_named": "import faust\nmine = faust.App('x')",
    "prog_pack.inner": "x = 1",
}
SAID = {
    "prog_gone": "there is no module prog_gone; go to the folder that holds prog_gone.py (this is {here})",
    "prog_gone.sub": "there is no module prog_gone.sub; go to the folder that holds prog_gone/sub.py",
    "prog_pack.gone": "prog_pack ({here}/prog_pack/__init__.py) has no `gone`; make one there",
    "prog_gone:app": "there is no module prog_gone;",
    "prog_none": "prog_none ({here}/prog_none.py) has no `app`; make one there: `from app import create_app`",
    "prog_none:app": "has no `app`; make one there",
    "prog_none.other": "has no `other`; make one there",
    "prog_pack.inner": "prog_pack.inner ({here}/prog_pack/inner.py) has no `app`",
    "prog_named": "prog_named has no `app`; its application is called otherwise: -A prog_named:mine",
    "prog_number": "prog_number.app is of type int and no application",
    "prog_number:app": "prog_number.app is of type int and no application",
    "prog_import": "fails with ModuleNotFoundError: No module named 'nosuch_thing' (prog_import.py, line 1)",
    "prog_raises": "fails with ValueError: boom (prog_raises.py, line 1); `python -c 'import prog_raises'`",
    "prog_syntax": "importing it fails with SyntaxError: invalid syntax (prog_syntax.py, line 1)",
    "prog_attribute": "importing it fails with AttributeError: module 'os' has no attribute 'nothing_like_that'",
    "prog_none.py": "that is the name of a file; name the module: -A prog_none",
    "/srv/models/load.py:mine": "go to its folder, /srv/models, and name the module: -A load:mine",
    "../load.py": "go to its folder, .., and name the module: -A load",
    "./models/load.py:app": "that is the name of a file; name the module: -A models.load:app",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, code in CODE.items():
        file = tmp_path / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    (tmp_path / "prog_pack/__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("prog_")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize("program", SAID)
def test_what_is_wrong_with_a_program_is_one_line(program: str, folder: Path) -> None:
    with pytest.raises(ProgramError) as refused:
        finding(find_app)(program)
    assert refused.value.message.startswith(f"-A {program}: ")
    assert SAID[program].format(here=folder) in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.exit_code == 2


def test_settings_that_a_program_refuses_are_told_as_they_are(folder: Path) -> None:
    (folder / "prog_settings.py").write_text(
        "from app.settings import load_settings\nload_settings({'AGG_PARTITIONS': 'x'})"
    )
    with pytest.raises(ProgramError, match=r"^AGG_PARTITIONS='x': must be") as refused:
        finding(find_app)("prog_settings")
    assert isinstance(refused.value.__cause__, SettingsError)


@pytest.mark.parametrize("program", ["app:mine", "app.mine"])
def test_another_name_in_our_package_is_told_by_faust_itself(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", program, "check"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stderr == f"-A {program}: app has no `mine`; its application is called otherwise: -A app:app\n"
    assert done.returncode == 2
