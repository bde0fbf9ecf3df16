"""The dashboard's files as they are served."""

from __future__ import annotations

import asyncio
import hashlib
import re

import httpx
import pytest

from app.web.app import create_web
from tests.web.fake_worker import FakeWorker
from tests.web.vendor import MANIFEST, VENDOR, main, read_manifest

STATIC = VENDOR.parent


def get(path: str, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_web(FakeWorker()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_the_page_and_all_that_it_names_are_there() -> None:
    page = get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    named = re.findall(r'(?:href|src)="(static/[^"]+)"', page.text)
    assert len(named) > 5
    for path in named:
        assert get(f"/{path}").status_code == 200, path


def test_the_page_has_nothing_inline() -> None:
    page = get("/").text
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", page)


@pytest.mark.parametrize(
    "path", ["../page.py", "..%2fpage.py", "%2e%2e/page.py", "js", "js/", "", "vendor/../../page.py", "x" * 300]
)
def test_nothing_else_is_served(path: str) -> None:
    assert get(f"/static/{path}").status_code == 404


def test_what_is_vendored_is_kept_and_the_rest_is_asked_for_again() -> None:
    vendored = get("/static/vendor/htm-3.1.1.js")
    assert "immutable" in vendored.headers["cache-control"]
    own = get("/static/js/main.js")
    assert own.headers["cache-control"] == "no-cache"
    assert own.headers["content-type"] == "text/javascript; charset=utf-8"
    again = get("/static/js/main.js", **{"if-none-match": own.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_is_vendored_is_what_the_manifest_names() -> None:
    manifest = read_manifest()
    named = {file.name for library in manifest.libraries for file in library.files}
    assert named == {path.name for path in VENDOR.iterdir()} - {MANIFEST.name}
    for library in manifest.libraries:
        for file in library.files:
            assert hashlib.sha256(get(f"/static/vendor/{file.name}").content).hexdigest() == file.sha256, file.name


def test_what_is_vendored_is_what_the_packages_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_no_module_imports_from_the_network() -> None:
    modules = list(STATIC.rglob("*.js"))
    assert len(modules) > 20
    for path in modules:
        assert not re.search(rb"""(?:from|import)\s*\(?["'](?:https?:)?//""", path.read_bytes()), path


def texts(language: str) -> dict[str, str]:
    source = get(f"/static/js/i18n/{language}.js").text
    return dict(re.findall(r'^\s+"?([\w.-]+)"?:\s*"((?:[^"\\]|\\.)*)"', source, re.MULTILINE))


def test_both_languages_have_the_same_texts() -> None:
    english, chinese = texts("en"), texts("zh")
    assert english.keys() == chinese.keys()
    assert len(english) > 100
    for key, text in english.items():
        named = set(re.findall(r"{(\w+)(?::\w+)?}", text))  # `{n:worker}` counts in English
        assert named == set(re.findall(r"{(\w+)}", chinese[key])), key
