"""What an installation holds, besides the modules."""

import tomllib
import zipfile

import pytest

from jser import config_files
from jser.commands import command_line
from tests.helpers.paths import ROOT


def test_the_command_is_the_one_that_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"jser": "jser.commands.command_line:main"}
    assert callable(command_line.main)


def test_the_wheel_holds_configs_and_templates(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    (path,) = wheel.WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path), versions=["standard"]
    )
    with zipfile.ZipFile(path) as archive:
        held = set(archive.namelist())
    assert {f"jser/configs/{name}.py" for name in config_files.names()} <= held
    assert {"jser/report/page.html.j2", "jser/report/page.css"} <= held
    web = ("page.html", "page.css", "page.js", "openapi.json")
    assert {f"jser/web/{name}" for name in web} <= held
    modules = (ROOT / "jser").rglob("*.py")
    assert {str(p.relative_to(ROOT)) for p in modules} <= held
