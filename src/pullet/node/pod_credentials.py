"""The credentials of one pod, and what to say when they were not enough."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from pullet.base.values import Value
from pullet.credentials.access_advice import access_advice
from pullet.kube.secret import SecretView
from pullet.node.pull_manager import CredentialLookup
from pullet.policy.credential_match import TrackedCredential

MAX_REMEMBERED: Final = 1000


class PodCredentials(Value, kw_only=True):
    """A `CredentialLookup` that can also say what there was to look up.

    `named` are the pod's pull secrets, `secrets` those of them that could be retrieved.
    """

    lookup: CredentialLookup
    named: Sequence[str]
    secrets: Sequence[SecretView]

    @property
    def missing(self) -> list[str]:
        """Pull secrets that could not be retrieved, in the pod's order."""
        there = {secret.name for secret in self.secrets}
        return [name for name in self.named if name not in there]

    async def __call__(self, repository: str) -> Sequence[TrackedCredential]:
        return await self.lookup(repository)

    def explain(self, repository: str) -> str:
        """One sentence, without any secret."""
        return access_advice(repository, named=self.named, secrets=self.secrets)


class Explanation(Value):
    """The plain cause of a failure and what to do about it."""

    cause: str = ""
    next_step: str = ""


class Explanations:
    """Those of the last failures, for the passes that only wait; the oldest are forgotten."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, Explanation] = OrderedDict()

    def remember(self, key: str, explanation: Explanation) -> None:
        """The last failure of `key`."""
        self._by_key[key] = explanation
        self._by_key.move_to_end(key)
        if len(self._by_key) > MAX_REMEMBERED:
            self._by_key.popitem(last=False)

    def of(self, key: str) -> Explanation:
        """What is remembered; an empty one for nothing."""
        return self._by_key.get(key, Explanation())

    def forget(self, key: str) -> None:
        """It went well."""
        self._by_key.pop(key, None)
