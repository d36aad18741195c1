"""Promise: the OpenAPI document is sound and describes exactly what the server does."""

from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.web.kit import MakeExport
from web.openapi import document


def test_the_document_is_sound_openapi() -> None:
    validate(document())


def test_routes_and_document_are_identical(app: Flask) -> None:
    routed = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method)
        for path, item in document()["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert routed == described


def test_the_server_hands_out_its_own_document(client: FlaskClient) -> None:
    assert client.get("/api/openapi.json").get_json() == document()


def test_answers_are_as_the_document_says(client: FlaskClient, make_export: MakeExport) -> None:
    def check(method: str, path: str, template: str, **request: object) -> None:
        answer = client.open(path, method=method.upper(), **request)
        described = document()["paths"][template][method]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"]
        root = {"components": document()["components"], **schema}
        resource = Resource.from_contents(root, default_specification=DRAFT202012)
        validator = Draft202012Validator(root, registry=Registry().with_resource("", resource))
        assert list(validator.iter_errors(answer.get_json())) == []

    check("post", "/api/jobs?name=264.zip", "/api/jobs", data=make_export())
    check("post", "/api/jobs?name=265.zip", "/api/jobs", data=make_export(()))
    check("post", "/api/jobs?name=x.txt", "/api/jobs", data=b"")
    check("get", "/api/jobs", "/api/jobs")
    check("get", "/api/jobs?limit=0", "/api/jobs")
    check("post", "/api/jobs/264/plan", "/api/jobs/{job_id}/plan", json={})
    check("post", "/api/jobs/264/runs", "/api/jobs/{job_id}/runs", json={})
    check("post", "/api/jobs/264/runs", "/api/jobs/{job_id}/runs", json={})
    check("get", "/api/board", "/api/board")
    check("get", "/api/jobs/264", "/api/jobs/{job_id}")
    check("post", "/api/jobs/264/cancel", "/api/jobs/{job_id}/cancel")
    check("post", "/api/jobs/264/retry", "/api/jobs/{job_id}/retry")
    check("get", "/api/jobs/264/result.zip", "/api/jobs/{job_id}/result.zip")
    check("get", "/api/workers", "/api/workers")
    check("get", "/api/status", "/api/status")
    check("get", "/api/openapi.json", "/api/openapi.json")
    check("delete", "/api/jobs/none", "/api/jobs/{job_id}")
