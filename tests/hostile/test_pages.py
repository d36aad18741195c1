"""Promise: names from strangers are text on every page, whatever they hold."""

from __future__ import annotations

import lxml.html
import pytest

from errors import one_line
from tests.cvat_io.cvat_samples import images, write_zip
from tests.hostile.conftest import House
from tests.hostile.xmls import labelled

SCRIPT = "<script>alert(1)</script>"
NAMES = [
    SCRIPT,
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "</li></ul><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "a\u202etxt.exe",
    "a\u200f\u2066b\u2069",
]


def page(house: House, path: str) -> lxml.html.HtmlElement:
    """A page, parsed as a browser would; checked to run nothing of a stranger's."""
    answer = house.client.get(path)
    assert answer.status_code == 200
    found = lxml.html.fromstring(answer.text)
    for element in found.iter():
        if not isinstance(element.tag, str):
            continue
        assert "alert(1)" not in (element.text or "") or element.tag not in ("script", "style")
        for name, value in element.items():
            assert not name.startswith("on"), (name, value)
            if name in ("href", "src", "action"):
                assert not value.lower().startswith("javascript:")
    return found


def texts(found: lxml.html.HtmlElement) -> str:
    """All that is read on a page, blanks made one."""
    return " ".join(found.text_content().split())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_is_shown_as_text(house: House, name: str) -> None:
    job = house.send(f"{name}.zip", house.good)
    assert job["state"] == "ready"
    shown = " ".join(one_line(name.rpartition("/")[2]).split())
    for path in ("/", f"/jobs/{job['id']}"):
        assert shown in texts(page(house, path))
        assert "\u202e" not in house.client.get(path).text
    assert house.client.delete(f"/api/jobs/{job['id']}").status_code == 204


@pytest.mark.parametrize("name", NAMES)
def test_a_label_and_a_member_are_shown_as_text(tmp_path, house: House, name: str) -> None:
    quoted = name.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    extra = name.replace("/", "")
    members = {"annotations.xml": labelled(quoted), **images(*range(10)), f"{extra}.xml": b"<x/>"}
    job = house.send("named.zip", write_zip(tmp_path / "x.zip", members).read_bytes())
    assert job["state"] == "ready"
    assert job["revision"]["labels"][0]["objects"] == 1
    for path in ("/", "/jobs/named"):
        assert " ".join(one_line(name).split()) in texts(page(house, path))
        assert "\u202e" not in house.client.get(path).text
    assert house.client.delete("/api/jobs/named").status_code == 204


@pytest.mark.parametrize("name", NAMES)
def test_a_reason_is_shown_as_text(house: House, name: str) -> None:
    quoted = name.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    data = labelled(quoted).replace(b"<name>", b"<name>not ", 1)
    job = house.send("reason.xml", data)
    assert job["state"] == "failed"
    assert one_line(name) in job["reason"]
    for path in ("/", "/jobs/reason"):
        assert " ".join(one_line(name).split()) in texts(page(house, path))
    assert house.client.delete("/api/jobs/reason").status_code == 204
