"""The connection to a CVAT server, by way of cvat-sdk; every refusal becomes one sentence.

The token goes into one header, to the host of CVAT_URL and to no other: addresses that the server
gives us (of an export, of an upload) are looked up there, whatever host they name. That also gets
along with proxies behind which CVAT does not know its own address.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from config import Settings
from cvat_io.model import ExportKind
from cvat_server.target import Target
from errors import ConflictError, InputError, NotFoundError, one_line

LEAST_VERSION = (2, 48)  # the first one with access tokens
APPENDS_SINCE = (2, 65)  # the first one whose imports can add to what is there
_TIMEOUT = (10.0, 300.0)  # seconds to connect, and between two bytes
_STATUS_SECONDS = 2.0  # how often a request that goes on in the background is looked at
_SAID = 160  # characters of the server's own words

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # the SDK's notes go here: a person's terminal is ours
_log.propagate = False


@dataclass(frozen=True, slots=True)
class ServerLabel:
    """A label by the server's number, and the numbers of its attributes by their names.

    `defaults`: by its number the value of each attribute that nobody gave another.
    """

    number: int
    name: str
    attributes: Mapping[str, int]
    defaults: Mapping[int, str]


class Server:
    """An open connection; use it as a context manager.

    `url`: of the server, as it is shown. `version`: such as (2, 80). `client`: a cvat-sdk Client.
    """

    def __init__(self, settings: Settings, *, status_seconds: float = _STATUS_SECONDS) -> None:
        """Connect, and make sure that it is a CVAT server that is new enough.

        Raises InputError where settings or cvat-sdk are missing, nothing answers, or what answers
        is no CVAT server.
        """
        if not settings.cvat_url or not settings.cvat_token:
            missing = "CVAT_TOKEN" if settings.cvat_url else "CVAT_URL"
            raise InputError(
                f"{missing} is not set: give the server's address as CVAT_URL and an access token "
                "as CVAT_TOKEN, in .env or in the environment."
            )
        try:
            from cvat_sdk.core.client import AccessTokenCredentials, Client, Config
        except ImportError as exc:
            raise InputError(
                "The package cvat-sdk, which talks to CVAT, is not installed: `pip install "
                "'mask-relay[cvat]'` or, in a checkout, `make setup`."
            ) from exc
        # Without a handler Python would print the tries that urllib3 makes again.
        logging.getLogger("urllib3").addHandler(logging.NullHandler())
        self.url = settings.cvat_url.rstrip("/")
        self.client: Any = Client(
            self.url,
            logger=_log,
            config=Config(status_check_period=status_seconds),
            check_server_version=False,
        )
        _keep_at_home(self.client.api_client.rest_client, self.url)
        self.client.login(AccessTokenCredentials(settings.cvat_token))
        self.version = self._version()
        if self.version < LEAST_VERSION:
            raise InputError(
                f"{self.url} runs CVAT {_dotted(self.version)}, which knows no access tokens: it "
                f"must be {_dotted(LEAST_VERSION)} or newer."
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def appends(self) -> bool:
        """Whether its imports can add to what is there; an older one would replace, unasked."""
        return self.version >= APPENDS_SINCE

    def entity(self, target: Target) -> Any:
        """The SDK's Job or Task, as it is now."""
        repo = self.client.jobs if target.kind is ExportKind.JOB else self.client.tasks
        with self.asking(target):
            return repo.retrieve(target.number)

    def annotations(self, target: Target) -> dict[str, Any]:
        """All annotations as JSON: the SDK's models would take minutes for a long job's masks."""
        return self._read(target, "retrieve_annotations")

    def deleted_frames(self, target: Target) -> frozenset[int]:
        """The frames that are deleted in CVAT, counted as in annotations.

        What was annotated on them stays and is in `annotations`; exports leave it out.
        """
        found = self._read(target, "retrieve_data_meta").get("deleted_frames")
        return frozenset(int(frame) for frame in found or [])

    def save_shapes(self, target: Target, shapes: list[dict[str, Any]], action: str) -> None:
        """Add shapes, as JSON, or change those of the same ids; all else stays as it is.

        `action`: "create" or "update". One transaction of the server's: an update puts the shapes
        in the place of those that have their ids.
        """
        endpoint = self.endpoint(target, "partial_update_annotations_endpoint")
        with self.asking(target):
            self.client.api_client.call_api(
                endpoint.settings["endpoint_path"],
                endpoint.settings["http_method"],
                path_params={"id": target.number},
                query_params=[("action", action)],
                body={"version": 0, "tags": [], "shapes": shapes, "tracks": []},
                _parse_response=False,
            )

    def labels(self, target: Target) -> tuple[ServerLabel, ...]:
        """Its labels; those of a skeleton's parts are not among them."""
        from cvat_sdk.core.helpers import get_paginated_collection

        asked = {f"{target.kind}_id": target.number}
        with self.asking(target):
            endpoint = self.client.api_client.labels_api.list_endpoint
            rows = get_paginated_collection(endpoint, return_json=True, **asked)
            return tuple(_label(row) for row in rows if row.get("parent_id") is None)

    def endpoint(self, target: Target, name: str) -> Any:
        """An operation of the API on jobs or tasks, as the SDK describes it."""
        return getattr(self._api(target), name)

    @contextmanager
    def asking(self, target: Target | None = None) -> Iterator[None]:
        """Turn what goes wrong between us and the server into one sentence."""
        from cvat_sdk.core.exceptions import CvatSdkException
        from cvat_sdk.exceptions import ApiException, ApiTypeError, ApiValueError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as exc:
            raise self._refusal(exc, target) from exc
        except HTTPError as exc:
            raise self._silence(exc) from exc
        except CvatSdkException as exc:
            raise InputError(
                f"CVAT could not do it for {target}: {one_line(str(exc), _SAID)}"
            ) from exc
        except (ApiTypeError, ApiValueError, json.JSONDecodeError, KeyError) as exc:
            raise InputError(
                f"{self.url} gave an answer that this cvat-sdk does not understand ({_kind(exc)}): "
                "look whether it is a CVAT server, and update cvat-sdk to its version."
            ) from exc

    def _api(self, target: Target) -> Any:
        api = self.client.api_client
        return api.jobs_api if target.kind is ExportKind.JOB else api.tasks_api

    def _read(self, target: Target, operation: str) -> dict[str, Any]:
        with self.asking(target):
            read = getattr(self._api(target), operation)
            _, response = read(target.number, _parse_response=False)
            found = json.loads(response.data)
        if not isinstance(found, dict):
            raise InputError(f"{self.url} gave no annotations for {target}: try again later.")
        return found

    def _version(self) -> tuple[int, ...]:
        with self.asking():
            _, response = self.client.api_client.server_api.retrieve_about(_parse_response=False)
            _require_here(response.geturl(), self.url)
            try:
                about = json.loads(response.data)
                major, minor = str(about["version"]).split(".")[:2]
                return int(major), int(minor)
            except (ValueError, KeyError, TypeError) as exc:
                raise InputError(
                    f"{self.url} is no CVAT server: give its address as CVAT_URL."
                ) from exc

    def _silence(self, exc: Exception) -> InputError:
        from urllib3.exceptions import ResponseError, SSLError

        reason = getattr(exc, "reason", None)
        if isinstance(reason, SSLError):
            return self._unsafe()
        if isinstance(reason, ResponseError):  # the same trouble again and again
            return InputError(f"CVAT at {self.url} has trouble ({reason}): try again later.")
        return InputError(
            f"CVAT at {self.url} does not answer ({_kind(exc)}): look whether it runs and whether "
            "CVAT_URL is its address."
        )

    def _unsafe(self) -> InputError:
        return InputError(
            f"No safe connection to {self.url} comes about: look at its certificate, and whether "
            "CVAT_URL is right."
        )

    def _refusal(self, exc: Any, target: Target | None) -> InputError:
        what = str(target) if target else "that"
        status = exc.status or 0
        if status == 401:
            return InputError(
                f"CVAT at {self.url} does not accept CVAT_TOKEN: make a new access token in CVAT "
                "(your name, Profile, Security) and set it."
            )
        if status == 403:
            return InputError(
                f"The owner of CVAT_TOKEN may not do that with {what}, or the token only reads: "
                "ask for the rights in CVAT, or make a token that may write."
            )
        if status == 404:
            return NotFoundError(
                f"There is no {what} at {self.url}, or the owner of CVAT_TOKEN does not see it: "
                "look at the number in CVAT's address bar."
            )
        if status == 409:
            return ConflictError(f"CVAT is still busy with {what}: try again in a minute.")
        if status == 429 or status >= 500:
            return InputError(f"CVAT at {self.url} has trouble ({status}): try again later.")
        if not status:
            return self._unsafe()
        return InputError(f"CVAT refused {what} ({status}): {_words(exc.body)}")


def _keep_at_home(rest: Any, home: str) -> None:
    """Let every request of the SDK go to the server that was configured, within a time."""
    plain = rest.request

    def request(method: str, url: str, *args: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or _TIMEOUT
        return plain(method, at_home(url, home), *args, **options)

    rest.request = request


def _require_here(found: str | None, url: str) -> None:
    """The token does not follow to where a server leads on: its real address has to be set."""
    home, parts = urlsplit(url), urlsplit(found or "")
    if parts.netloc and (parts.scheme, parts.netloc) != (home.scheme, home.netloc):
        raise InputError(
            f"{url} leads on to {parts.scheme}://{parts.netloc}: give that address as CVAT_URL, if "
            "it is your CVAT server."
        )


def at_home(address: str, url: str) -> str:
    """`address` on the host of `url`; a path by itself is put there too."""
    home, parts = urlsplit(url), urlsplit(address)
    if (parts.scheme, parts.netloc) == (home.scheme, home.netloc):
        return address
    return parts._replace(scheme=home.scheme, netloc=home.netloc).geturl()


def _label(row: dict[str, Any]) -> ServerLabel:
    specs = row.get("attributes") or []
    attributes = {str(each["name"]): int(each["id"]) for each in specs}
    defaults = {int(each["id"]): str(each.get("default_value") or "") for each in specs}
    return ServerLabel(int(row["id"]), str(row["name"]), attributes, defaults)


def _words(body: object) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "no reason")
    return one_line(text, _SAID)


def _kind(exc: BaseException) -> str:
    reason = getattr(exc, "reason", None)
    return type(reason if isinstance(reason, BaseException) else exc).__name__


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
