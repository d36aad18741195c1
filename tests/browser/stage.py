"""The server that the browser looks at."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from werkzeug.serving import make_server

import server
from config import Settings
from web.context import KEY
from web.events import Watch


class Site:
    """A server in this process whose address stays the same when it is stopped and started."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self.app = server.create_app(settings or Settings(data_dir=folder / "data"))
        self.jobs = self.app.extensions[KEY].jobs
        self._watch = Watch(self.app.extensions["socketio"], self.app.extensions[KEY])
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._watch.start()
        self._serve()

    def _serve(self) -> None:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def away(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def back(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self.app, threaded=True)
        self._serve()

    def close(self) -> None:
        self._watch.stop()
        self.away()
        self.jobs.close()
