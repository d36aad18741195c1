"""Make `.venv` from a lock file: `python tools/bootstrap.py relay|dev`. Standard library only.

Runs before anything is installed. Does nothing when the environment already fits the lock file, so
that every make target can call it first.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = (ROOT / ".venv").resolve()  # may be a link to an environment kept elsewhere
STAMP = VENV / "installed.json"
# Sum of the wheels of relay.lock, measured with `pip download` on 2026-11-21 (Python 3.11).
DOWNLOAD = {
    "Linux": "about 3.0 GB (mostly PyTorch with CUDA)",
    "Darwin": "about 0.4 GB (mostly PyTorch)",
}


def main(kind: str) -> int:
    """Bring the environment up to date; `kind` is the stem of a file in requirements/."""
    lock = ROOT / "requirements" / f"{kind}.lock"
    python = Path(sys.executable).resolve()
    wanted = _digest(lock, python)
    done = json.loads(STAMP.read_text()) if STAMP.is_file() else {}
    if done.get(kind) != wanted:
        _install(lock)
        done[kind] = wanted
        if kind == "dev":  # it holds everything that relay.lock holds, in the same versions
            done["relay"] = _digest(lock.with_name("relay.lock"), python)
    here = str(ROOT)
    project = [here, _digest(ROOT / "pyproject.toml")]
    if done.get("project") != project:
        _pip("install", "--no-deps", "--no-build-isolation", "--editable", here)
        done["project"] = project
    client = ROOT / "static" / "vendor" / "socket.io.min.js"
    pinned = _digest(ROOT / "package-lock.json", ROOT / "requirements" / "browser-client.lock")
    # What tests look at pages with comes by npm alone; without npm they are skipped and say so.
    lacks_checker = kind == "dev" and not (ROOT / "node_modules" / "axe-core").is_dir()
    if (
        done.get("browser-client") != [here, pinned]
        or not client.is_file()
        or (lacks_checker and shutil.which("npm") is not None)
    ):
        _browser_client(with_tests=kind == "dev")
        done["browser-client"] = [here, pinned]
    STAMP.write_text(json.dumps(done, indent=1))
    return 0


def _install(lock: Path) -> None:
    if (VENV / "bin" / "python").exists():
        print(f"Bringing {VENV} up to date with {lock.name}.", flush=True)
    else:
        size = DOWNLOAD.get(platform.system(), DOWNLOAD["Linux"])
        print(f"Setting up {VENV}: {size} to download, which takes some minutes.", flush=True)
        venv.create(VENV, with_pip=True, symlinks=True)
    _pip("install", "--require-hashes", "--requirement", str(lock))


def _pip(*arguments: str) -> None:
    quiet = [] if sys.stdout.isatty() else ["-qq"]
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *quiet]
    try:
        subprocess.run([*command, *arguments], check=True, cwd=ROOT)
    except subprocess.CalledProcessError as exc:
        print(
            "pip could not install what the lock file asks for (see above): check the network and "
            "the disk (8 GB are needed), then run the same command again.",
            file=sys.stderr,
        )
        raise SystemExit(exc.returncode) from exc


def _browser_client(*, with_tests: bool) -> None:
    """Put the Socket.IO client for browsers in static/vendor, by npm or out of a wheel.

    `with_tests`: fetch what tests of the pages need too.
    """
    python = str(VENV / "bin" / "python")
    npm = shutil.which("npm")
    if npm is not None:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        command += [] if with_tests else ["--omit=dev"]
        if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
            subprocess.run([python, "-m", "web.vendor", "node_modules"], check=True, cwd=ROOT)
            return
        print("npm could not fetch the browser's client: taking it from a wheel.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lock = str(ROOT / "requirements" / "browser-client.lock")
        _pip("download", "--no-deps", "--require-hashes", "--requirement", lock, "--dest", folder)
        wheel = next(Path(folder).glob("*.whl"))
        subprocess.run([python, "-m", "web.vendor", str(wheel)], check=True, cwd=ROOT)


def _digest(*files: Path) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(
            file.read_bytes() if file.suffix in {".json", ".lock", ".toml"} else os.fsencode(file)
        )
    return whole.hexdigest()


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - said before anything else could fail
        sys.exit("Python 3.11 or newer is needed: say make PYTHON=/path/to/python3.")
    raise SystemExit(main(sys.argv[1]))
