"""The doors by which a stranger's file comes in, each with what it owes when it refuses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import cli
import server
from config import Settings
from errors import MAX_SENTENCE
from tests.helpers.clips import tiny_clip, write_clip
from web.context import KEY

Refuse = Callable[[Path], str]


@pytest.fixture
def refused_by_cli(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refuse:
    """`relay check` and `relay track`: exit 2, the same one line on stderr, nothing left behind."""
    out, temp = tmp_path / "out", tmp_path / "temp"
    out.mkdir()
    temp.mkdir()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "cli-data"))
    monkeypatch.setattr(tempfile, "tempdir", str(temp))

    def refuse(path: Path) -> str:
        before = everything(tmp_path)
        capfd.readouterr()
        sentences = []
        for verb in (["check", str(path)], ["track", str(path), "--out", str(out / "r.zip")]):
            assert cli.main(verb) == 2, verb
            sentences.append(one_sentence(capfd.readouterr().err))
        assert sentences[0] == sentences[1]
        assert everything(tmp_path) == before
        return sentences[0]

    return refuse


class House:
    """A running application with one good job in it, and a folder that must stay as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.settings = Settings(data_dir=self.data, downloads_path=folder / "in", engine="flow")
        self.app = server.create_app(self.settings)
        self.app.testing = False  # errors are answered as in the real server
        self.client: FlaskClient = self.app.test_client()
        self.good = write_clip(folder / "good.zip", tiny_clip(6), [0, 5]).read_bytes()
        assert self.send("bystander.zip", self.good)["state"] == "ready"
        self.bystander = self.client.get("/api/jobs/bystander").get_json()
        self.outside = self._outside()
        self.count = 0

    def send(self, name: str, data: bytes) -> dict:
        """Upload as a program does; the job, or {"error": sentence}."""
        answer = self.client.post("/api/jobs", query_string={"name": name}, data=data)
        assert answer.status_code in (201, 400, 413), answer.text
        return answer.get_json()

    def refuse(self, path: Path) -> str:
        """Upload a file that must be refused, then a good one by the same name."""
        self.count += 1
        name = f"job{self.count}"
        job = self.send(f"{name}{path.suffix}", path.read_bytes())
        sentence = job["error"] if "error" in job else job["reason"]
        if "error" not in job:
            assert job["state"] == "failed"
            assert self.client.post(f"/api/jobs/{name}/runs", json={}).status_code == 409
            assert self.client.get(f"/jobs/{name}").status_code == 200
        one_sentence(sentence + "\n")
        assert str(self.data) not in sentence
        assert not list((self.data / "jobs").glob(f"{name}/*/export*"))
        self.unharmed()
        assert self.send(f"{name}.zip", self.good)["state"] == "ready"
        assert self.client.delete(f"/api/jobs/{name}").status_code == 204
        self.unharmed()
        return sentence

    def unharmed(self) -> None:
        """Check that other jobs and all other folders are as they were, and no scraps lie about."""
        assert self.client.get("/api/jobs/bystander").get_json() == self.bystander
        assert self._outside() == self.outside
        for scraps in ("tmp", "incoming"):
            assert not list((self.data / scraps).glob("*"))

    def _outside(self) -> set[Path]:
        return {path for path in everything(self.folder) if self.data not in path.parents}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One application for all files of a module, as a real one lives on after each of them."""
    house = House(tmp_path_factory.mktemp("house"))
    yield house
    house.app.extensions[KEY].jobs.close()


def one_sentence(text: str) -> str:
    """Check that this is one line for a person, and return it without its end."""
    assert text.endswith("\n")
    sentence = text[:-1]
    assert 0 < len(sentence) <= MAX_SENTENCE, sentence
    assert sentence.isprintable(), repr(sentence)
    assert sentence.endswith((".", "…")), sentence
    return sentence


def everything(folder: Path) -> set[Path]:
    """All that is in a folder."""
    return set(folder.rglob("*"))
