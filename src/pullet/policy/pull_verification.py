"""Whether a pod may use an image that is already on the machine, or must prove its access at the registry.

    policy asks for no proof ──► use
    no record for this name   ──► pull
    every pod may use it      ──► use
    a pod's secret or account matches a recorded one ──► use      else ──► pull

Two steps, so that credentials are looked up only when the answer hangs on them. Source: KEP-2535; kubernetes
pkg/kubelet/images/pullmanager; kubelet-images spec 11.4, 11.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from pullet.base.errors import UsageError
from pullet.base.quote import go_quote
from pullet.base.values import Value
from pullet.oci.reference import ReferenceInvalidError, parse_strict, trim_tag_and_digest
from pullet.policy.credential_match import SecretSource, ServiceAccountSource, TrackedCredential
from pullet.policy.pull_record import ImageAccess, PulledRecord, RecordedSecret

MAX_RECORDED_SECRETS = 100


class VerificationPolicy(StrEnum):
    """The setting `imagePullCredentialsVerificationPolicy`."""

    NEVER_VERIFY = "NeverVerify"
    NEVER_VERIFY_PRELOADED = "NeverVerifyPreloadedImages"
    NEVER_VERIFY_ALLOWLISTED = "NeverVerifyAllowlistedImages"
    ALWAYS_VERIFY = "AlwaysVerify"


class MustPullResult(StrEnum):
    """Label of the metric that counts these checks (spec 23)."""

    POLICY_ALLOWED = "credentialPolicyAllowed"
    RECORD_FOUND = "credentialRecordFound"
    MUST_AUTHENTICATE = "mustAuthenticate"
    ERROR = "error"


def trimmed_name(image: str) -> str:
    """The image without tag and digest in the user's spelling; an image that does not parse stays as it is."""
    try:
        return trim_tag_and_digest(image)
    except ReferenceInvalidError:
        return image


class VerificationRule(Value):
    """The policy with its allow list; make it with `parse_verification_rule`."""

    policy: VerificationPolicy = VerificationPolicy.NEVER_VERIFY_PRELOADED
    allowed_names: frozenset[str] = frozenset()
    allowed_prefixes: tuple[str, ...] = ()

    def requires_proof(self, image: str, *, pulled_by_kubelet: bool) -> bool:
        """Whether a pod must prove its access to that image on the machine."""
        match self.policy:
            case VerificationPolicy.NEVER_VERIFY:
                return False
            case VerificationPolicy.NEVER_VERIFY_PRELOADED:
                return pulled_by_kubelet
            case VerificationPolicy.NEVER_VERIFY_ALLOWLISTED:
                name = trimmed_name(image)
                return name not in self.allowed_names and not name.startswith(self.allowed_prefixes)
            case VerificationPolicy.ALWAYS_VERIFY:
                return True


def parse_verification_rule(policy: str, allowlist: Iterable[str] = ()) -> VerificationRule:
    """The rule from its settings.

    Raises:
        UsageError: an unknown policy, a pattern that can match nothing, or a list the policy does not read.
    """
    try:
        parsed = VerificationPolicy(policy)
    except ValueError:
        known = ", ".join(VerificationPolicy)
        raise UsageError(
            f"imagePullCredentialsVerificationPolicy {go_quote(policy)} is unknown: one of {known}"
        ) from None
    patterns = tuple(allowlist)
    if patterns and parsed is not VerificationPolicy.NEVER_VERIFY_ALLOWLISTED:
        raise UsageError(
            f"preloadedImagesVerificationAllowlist is read only with policy "
            f"{VerificationPolicy.NEVER_VERIFY_ALLOWLISTED}, not with {parsed}"
        )
    names: set[str] = set()
    prefixes: list[str] = []
    for pattern in patterns:
        problem = _pattern_problem(pattern)
        if problem:
            raise UsageError(f"preloadedImagesVerificationAllowlist: {go_quote(pattern)} {problem}")
        if pattern.endswith("/*"):
            prefixes.append(pattern[:-1])
        else:
            names.add(pattern)
    return VerificationRule(parsed, frozenset(names), tuple(prefixes))


def _pattern_problem(pattern: str) -> str:
    if not pattern.strip():
        return "is empty: write an image name, or a prefix ending in /*"
    if pattern != pattern.strip():
        return "has leading or trailing space"
    if pattern == "/*":
        return "would match every image: use policy NeverVerify for that"
    name = pattern.removesuffix("/*")
    if "*" in name:
        return "may hold a star only as its last part, as in registry.example.com/team/*"
    try:
        reference = parse_strict(name)
    except ReferenceInvalidError as error:
        return f"is not an image name: {error}"
    if reference.tag or reference.digest:
        return "names a tag or digest: write the name alone"
    return ""


class AccessFacts(Value, kw_only=True):
    """What is known about an image on the machine. `record` None: there is none for this image ref.

    `has_intent`: a pull by this node is, or was, under way for the image string. `read_error`: records could not be
    read; the safe answer is then to pull.
    """

    image: str
    image_ref: str
    record: PulledRecord | None = None
    has_intent: bool = False
    read_error: str = ""

    @property
    def pulled_by_kubelet(self) -> bool:
        """Whether this node pulled it, as opposed to somebody who loaded it by hand."""
        return self.record is not None or self.has_intent


class Accessible(Value):
    """The pod may use the image. `learned` is to be merged into the record: a secret that proved equal."""

    reason: str
    result: MustPullResult
    learned: ImageAccess | None = None


class MustProve(Value):
    """The pod has to prove its access by pulling."""

    reason: str
    result: MustPullResult = MustPullResult.MUST_AUTHENTICATE


@dataclass(frozen=True, slots=True)
class NeedsCredentials:
    """The answer hangs on the pod's credentials: look them up and ask `check_credentials`."""

    access: ImageAccess = field(repr=False)


Access: TypeAlias = Accessible | MustProve


class AccessReport(Value):
    """What the rule says of a present image for pods in general, and the proofs on record (None: none)."""

    answer: Access | NeedsCredentials
    record: PulledRecord | None


def check_access(rule: VerificationRule, facts: AccessFacts) -> Access | NeedsCredentials:
    """The answer as far as it can be given without the pod's credentials (spec 11.4 steps 1 to 6)."""
    if not facts.image_ref:
        return MustProve("the image is not on this machine")
    if facts.read_error:
        return MustProve(f"the records of earlier pulls cannot be read: {facts.read_error}", MustPullResult.ERROR)
    if not rule.requires_proof(facts.image, pulled_by_kubelet=facts.pulled_by_kubelet):
        return Accessible(_policy_sentence(rule, facts), MustPullResult.POLICY_ALLOWED)
    if facts.record is None:
        return MustProve("no finished pull by this node is on record for it")
    name = trimmed_name(facts.image)
    access = facts.record.access.get(name)
    if access is None:
        return MustProve(f"it was pulled under another name; access to {name} has not been proved")
    if access.node_pods_accessible:
        return Accessible(
            "it was pulled without a pod's own credentials, so every pod of this node may use it",
            MustPullResult.RECORD_FOUND,
        )
    if not access.secrets and not access.service_accounts:
        return MustProve("its record names no credential that would open it")
    return NeedsCredentials(access)


def _policy_sentence(rule: VerificationRule, facts: AccessFacts) -> str:
    match rule.policy:
        case VerificationPolicy.NEVER_VERIFY_PRELOADED:
            return f"{facts.image} was not pulled by this node (preloaded), and {rule.policy} asks for no proof then"
        case VerificationPolicy.NEVER_VERIFY_ALLOWLISTED:
            return f"{trimmed_name(facts.image)} is on the allow list of {rule.policy}"
        case _:
            return f"policy {rule.policy} asks for no proof"


def check_credentials(access: ImageAccess, credentials: Sequence[TrackedCredential]) -> Access:
    """The answer from the pod's credentials for the image (spec 11.4 steps 8 to 10)."""
    has_room = len(access.secrets) < MAX_RECORDED_SECRETS
    for credential in credentials:
        if not isinstance(credential.source, SecretSource):
            continue
        for recorded in access.secrets:
            found = _match_secret(credential, credential.source, recorded, has_room=has_room)
            if found is not None:
                return found
    account = next((each.source for each in credentials if isinstance(each.source, ServiceAccountSource)), None)
    if account is not None and account in access.service_accounts:
        return Accessible(
            f"service account {account.namespace}/{account.name} is on record for it", MustPullResult.RECORD_FOUND
        )
    return MustProve("none of the pod's credentials is on record for it")


def _match_secret(
    credential: TrackedCredential, source: SecretSource, recorded: RecordedSecret, *, has_room: bool
) -> Accessible | None:
    learned = ImageAccess(secrets=(RecordedSecret(source, credential.hash),))
    name = f"secret {source.namespace}/{source.name}"
    if credential.hash and credential.hash == recorded.credential_hash:
        is_new = source != recorded.source and has_room
        reason = f"{name} holds the credential that pulled it"
        return Accessible(reason, MustPullResult.RECORD_FOUND, learned if is_new else None)
    if source == recorded.source and has_room:
        reason = f"{name} is on record for it (its content has changed since)"
        return Accessible(reason, MustPullResult.RECORD_FOUND, learned)
    return None
