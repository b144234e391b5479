"""Warnings of an answer: each once, and not more than a client can read."""

from __future__ import annotations

from tests.unit.apiserver.api_world import Api

from pullet.apiserver.warning_headers import warning_headers


def test_each_is_sent_once_and_quoted() -> None:
    assert warning_headers(["b", 'say "a"\n', "b"]) == ['299 - "b"', '299 - "say \\"a\\" "']


def test_too_many_characters_shorten_each_and_leave_out_the_last() -> None:
    headers = warning_headers(f"{number:03}{'x' * 400}" for number in range(20))
    assert len(headers) == 16
    assert headers[0] == f'299 - "000{"x" * 253}"'


def test_many_short_ones_leave_room_for_other_headers() -> None:
    assert len(warning_headers(str(number) for number in range(200))) == 90


async def test_a_body_of_nonsense_is_answered_with_headers_that_can_be_read(api: Api) -> None:
    body = {"metadata": {"name": "c"}, **{f"f{number}": 1 for number in range(300)}}
    response = await api.http.post("/api/v1/namespaces/default/configmaps", json=body)
    assert response.status_code == 201
    assert len(response.headers.raw) < 100
    refused = await api.refused("POST", "/api/v1/namespaces/default/configmaps?fieldValidation=Strict", body)
    assert refused["message"].count("unknown field") == 100


async def test_a_kind_on_its_way_out_is_told_with_each_answer(api: Api) -> None:
    endpoints = await api.http.get("/api/v1/namespaces/default/endpoints")
    assert endpoints.headers["warning"] == (
        '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    )
    assert "warning" not in (await api.http.get("/api/v1/namespaces/default/services")).headers


async def test_who_deletes_a_job_is_told_that_its_pods_stay(api: Api) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    pods = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}
    body = {"metadata": {"name": "j"}, "spec": {"template": {"spec": pods}}}
    for query, finalizers, is_warned in (
        ("", ["orphan"], True),
        ("?propagationPolicy=Orphan", ["orphan"], False),
        ("?orphanDependents=true", ["orphan"], False),
        ("?orphanDependents=false", [], False),
        ("?propagationPolicy=Background", [], False),
    ):
        await api.ok("POST", jobs, body)
        answer = await api.http.delete(f"{jobs}/j{query}")
        said = answer.headers.get("warning", "")
        assert said.startswith('299 - "child pods are preserved by default when jobs are deleted; set ') == is_warned
        left = (await api.ok("GET", jobs))["items"]
        assert [name for job in left for name in job["metadata"]["finalizers"]] == finalizers
        for _ in left:
            merge = "application/merge-patch+json"
            await api.ok("PATCH", f"{jobs}/j", {"metadata": {"finalizers": None}}, content_type=merge)
