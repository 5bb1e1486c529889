import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.exporter.running import Exporter

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "exporter/pages").iterdir() if path.is_file())
PAGE_FILES = [path for path in FILES if path.suffix != ".py"]
SCRIPTS = [path for path in FILES if path.suffix == ".js"]


def relative_name(path: Path) -> str:
    return path.name


async def test_the_content_security_policy_forbids_other_origins(exporter: Exporter) -> None:
    answer = await exporter.http.get("/")

    policy = dict(
        directive.split(" ", 1)
        for directive in answer.headers["content-security-policy"].split("; ")
    )
    assert answer.status_code == 200
    assert policy.pop("img-src") == "'self' data:"
    assert policy == {
        **dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'"),
        **dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'"),
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


async def test_every_resource_of_the_page_is_served_with_its_type(exporter: Exporter) -> None:
    page = (await exporter.http.get("/")).text
    types = {}
    for asset in set(re.findall(r'"(assets/[^"]+)"', page)):
        answer = await exporter.http.get(f"/{asset}")
        types[asset] = answer.headers["content-type"]

        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"

    assert types == {
        "assets/icon.svg": "image/svg+xml",
        "assets/status.css": "text/css; charset=utf-8",
        "assets/status.js": "text/javascript; charset=utf-8",
    }


@pytest.mark.parametrize(
    "path", ["/assets/", "/assets/no.js", "/assets/__init__.py", "/assets/../app.py"]
)
async def test_no_other_file_is_served(exporter: Exporter, path: str) -> None:
    assert (await exporter.http.get(path)).status_code == 404


async def test_an_unchanged_file_is_not_sent_again(exporter: Exporter) -> None:
    first = await exporter.http.get("/assets/status.css")
    second = await exporter.http.get(
        "/assets/status.css", headers={"If-None-Match": first.headers["etag"]}
    )

    assert first.headers["cache-control"] == "no-cache"
    assert (second.status_code, second.content) == (304, b"")


async def test_head_is_answered_like_get(exporter: Exporter) -> None:
    head, get = await exporter.http.head("/"), await exporter.http.get("/")

    assert head.status_code == 200
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("path", PAGE_FILES, ids=relative_name)
def test_no_file_contains_an_external_url(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"^\s*//.*|\s// .*", "", text, flags=re.M))


@pytest.mark.parametrize("path", SCRIPTS, ids=relative_name)
def test_no_script_inserts_data_as_markup(path: Path) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|localStorage"
    )

    assert not re.search(forbidden, path.read_text())


def test_the_wheel_contains_every_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()

    assert [f"exporter/pages/{path.name}" for path in FILES] == sorted(
        name for name in names if name.startswith("exporter/pages/")
    )
