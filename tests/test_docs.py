"""Promise: the documentation is true.

Settings, CLI verbs and options, dependencies and links in the docs are those of the program, and
lock files hold hashes and no registry address.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

import arguments
import config
from jobs.options import RunOptions
from web.openapi import document
from web.vendor import install

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def settings_read_by_config() -> set[str]:
    return set(re.findall(r'take\(\s*"([A-Z_]+)"', (ROOT / "config.py").read_text()))


def test_every_setting_is_in_example_env_and_in_the_reference_and_nothing_else() -> None:
    names = settings_read_by_config()
    assert len(names) >= len(dataclasses.fields(config.Settings)) - 1  # `limits` is several
    example = set(re.findall(r"^([A-Z_]+)=", (ROOT / "example.env").read_text(), re.M))
    reference = set(
        re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs/reference/settings.md").read_text(), re.M)
    )
    assert example == names
    assert reference == names


def test_example_env_loads_as_it_is_and_shows_the_defaults(tmp_path: Path) -> None:
    assert config.load({}, ROOT / "example.env") == config.load({}, tmp_path / "none")


def verbs() -> dict[str, argparse.ArgumentParser]:
    parser = arguments.build_parser()
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_every_verb_and_option_is_in_the_cli_reference() -> None:
    text = (ROOT / "docs/reference/cli.md").read_text()
    sections = dict(re.findall(r"^## `relay (\w+).*?\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert set(sections) == set(verbs())
    for verb, parser in verbs().items():
        shown = set(re.findall(r"--[a-z][a-z-]*", sections[verb]))
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    assert option in text, f"relay {verb} {option}"
        known = {o for p in verbs().values() for a in p._actions for o in a.option_strings}
        assert shown <= known, f"documented but unknown: {shown - known}"


def test_every_dependency_has_its_line_and_no_line_is_stale() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^A-Za-z0-9-]", item)[0] for group in groups for item in group}
    lines = re.findall(r"^\| ([a-z0-9-]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.M)
    listed = set(lines) - {"package"}
    assert listed == names


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda p: p.name
)
def test_lock_files_pin_by_hash_and_name_no_registry(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index-url" not in text
    pins = re.split(r"\n(?=[a-z])", text.strip())
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==", pin), pin[:80]
        assert "--hash=sha256:" in pin, pin[:80]


def test_the_browser_lock_file_pins_by_integrity_and_names_no_registry() -> None:
    text = (ROOT / "package-lock.json").read_text()
    assert "resolved" not in text
    assert '"integrity": "sha512-' in text


def test_links_inside_the_docs_lead_somewhere() -> None:
    for page in DOCS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_route_is_in_the_api_reference_and_no_other() -> None:
    described = {
        f"{method.upper()} {path}"
        for path, operations in document()["paths"].items()
        for method in operations
        if method in {"get", "post", "put", "patch", "delete"}
    }
    page = (ROOT / "docs/reference/api.md").read_text()
    assert set(re.findall(r"^\| `([A-Z]+ /api/[^`]*)`", page, re.M)) == described


def test_every_run_option_is_in_the_api_reference() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    for option in dataclasses.fields(RunOptions):
        assert f"`{option.name}`" in page


def test_every_command_of_the_dockerfile_that_is_ours_works(tmp_path: Path) -> None:
    """No Docker engine is at hand: the commands that the image's build runs are run here."""
    text = (ROOT / "Dockerfile").read_text()
    assert "python -m web.vendor node_modules" in text
    for name in ("requirements/web.lock", "requirements/relay.lock", "package-lock.json"):
        assert (ROOT / name).is_file()
    client = tmp_path / "node_modules/socket.io-client/dist/socket.io.min.js"
    client.parent.mkdir(parents=True)
    client.write_bytes((ROOT / "static/vendor/socket.io.min.js").read_bytes())
    install(tmp_path / "node_modules", tmp_path / "out.js")
    assert (tmp_path / "out.js").read_bytes() == client.read_bytes()
