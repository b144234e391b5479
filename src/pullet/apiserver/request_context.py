"""Who asks, and what the answer will carry beside its body."""

from __future__ import annotations

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State, Value


class User(Value, kw_only=True):
    """An authenticated identity."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def to_info(self) -> JsonObject:
        """authentication/v1 UserInfo."""
        info: JsonObject = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


MASTERS_GROUP = "system:masters"
AUTHENTICATED_GROUP = "system:authenticated"
ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))
SYSTEM = User(name="system:apiserver", groups=(MASTERS_GROUP, AUTHENTICATED_GROUP))


class RequestContext(State, kw_only=True):
    """One request while it is worked on."""

    user: User
    user_agent: str = ""
    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = ""
    warnings: list[str] = msgspec.field(default_factory=list)

    @property
    def manager_name(self) -> str:
        """The field manager: the one named, else the beginning of the user agent, as the API does."""
        return self.field_manager or self.user_agent.partition("/")[0][:128] or "unknown"
