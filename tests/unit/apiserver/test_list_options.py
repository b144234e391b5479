"""ListOptions: what goes together, lists of a moment that has passed, pages whose moment is gone."""

from __future__ import annotations

import pytest
from tests.unit.apiserver.api_world import Api, configmap

from pullet.apiserver.settings import ApiServerSettings

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
INVALID = 'ListOptions.meta.k8s.io "" is invalid: '
MATCH = "resourceVersionMatch: "


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("resourceVersionMatch=Exact", f"{MATCH}Forbidden: resourceVersionMatch is forbidden unless resourceVersion is "
         "provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", f'{MATCH}Forbidden: resourceVersionMatch "exact" is forbidden '
         'for resourceVersion "0"'),
        ("resourceVersionMatch=Odd&resourceVersion=1", f'{MATCH}Unsupported value: "Odd": supported values: "Exact", '
         '"NotOlderThan", ""'),
        ("sendInitialEvents=true", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ("watch=1&sendInitialEvents=true", f"{MATCH}Forbidden: sendInitialEvents requires setting resourceVersionMatch "
         "to NotOlderThan"),
        ("watch=1&resourceVersionMatch=NotOlderThan", f"{MATCH}Forbidden: resourceVersionMatch is forbidden for watch "
         "unless sendInitialEvents is provided"),
    ],
)  # fmt: skip
async def test_options_that_do_not_go_together(api: Api, query: str, message: str) -> None:
    status = await api.refused("GET", f"{CONFIGMAPS}?{query}")
    assert (status["code"], status["message"]) == (422, INVALID + message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("resourceVersion=x", 'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
        ("watch=1&resourceVersion=-1",
         'resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax'),
        ("limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("watch=1&timeoutSeconds=soon", 'strconv.ParseInt: parsing "soon": invalid syntax'),
        ("resourceVersion=5&continue=x", "specifying resource version is not allowed when using continue"),
    ],
)  # fmt: skip
async def test_values_that_cannot_be_read(api: Api, query: str, message: str) -> None:
    status = await api.refused("GET", f"{CONFIGMAPS}?{query}")
    assert (status["code"], status["message"]) == (400, message)


def names(listed: dict[str, object]) -> list[str]:
    """Names and data of the items."""
    items = listed["items"]
    assert isinstance(items, list)
    return [f"{item['metadata']['name']}={(item.get('data') or {}).get('a', '')}" for item in items]


async def test_a_list_of_an_exact_version_shows_that_moment(api: Api) -> None:
    for name in "abc":
        await api.ok("POST", CONFIGMAPS, configmap(name, a="1"))
    then = (await api.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
    await api.ok("DELETE", f"{CONFIGMAPS}/a")
    await api.ok("POST", CONFIGMAPS, configmap("d", a="1"))
    merge = "application/merge-patch+json"
    for value in ("2", "3"):
        await api.ok("PATCH", f"{CONFIGMAPS}/b", {"data": {"a": value}}, content_type=merge)
    exact = f"resourceVersion={then}&resourceVersionMatch=Exact"
    listed = await api.ok("GET", f"{CONFIGMAPS}?{exact}")
    assert (names(listed), listed["metadata"]["resourceVersion"]) == (["a=1", "b=1", "c=1"], then)
    assert names(await api.ok("GET", CONFIGMAPS)) == ["b=3", "c=1", "d=1"]
    page = await api.ok("GET", f"{CONFIGMAPS}?{exact}&limit=2")
    rest = await api.ok("GET", f"{CONFIGMAPS}?limit=2&continue={page['metadata']['continue']}")
    assert names(page) + names(rest) == ["a=1", "b=1", "c=1"]
    assert rest["metadata"]["resourceVersion"] == then
    newer = await api.ok("GET", f"{CONFIGMAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")
    assert names(newer) == ["b=3", "c=1", "d=1"]
    gone = await api.refused("GET", f"{CONFIGMAPS}?resourceVersion=1&resourceVersionMatch=Exact")
    assert gone["reason"] == "Expired"


class TestShortMemory:
    """Pages whose moment is gone."""

    @pytest.fixture
    def settings(self) -> ApiServerSettings:
        return ApiServerSettings(port=0, list_snapshot_seconds=0.0)

    async def test_an_expired_page_says_how_to_go_on_with_what_is_there(self, api: Api) -> None:
        for name in "abcd":
            await api.ok("POST", CONFIGMAPS, configmap(name, a="1"))
        page = await api.ok("GET", f"{CONFIGMAPS}?limit=2")
        await api.ok("DELETE", f"{CONFIGMAPS}/c")
        status = await api.refused("GET", f"{CONFIGMAPS}?limit=2&continue={page['metadata']['continue']}")
        assert (status["code"], status["reason"]) == (410, "Expired")
        rest = await api.ok("GET", f"{CONFIGMAPS}?limit=2&continue={status['metadata']['continue']}")
        assert names(rest) == ["d=1"]
