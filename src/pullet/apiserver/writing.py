"""create, update, delete of any kind: one way for all of them.

    create:  identity → defaults → admission (mutating) → rules → admission (validating) → commit
    update:  read → change → keep what a write may not touch → defaults → admission → rules → commit if still unchanged
    delete:  read → preconditions → grace, finalizers: mark it, or commit its end

An update computes on the record it read and commits only if that record is still the current one; otherwise it
computes again, unless the client named the version it had seen, which is the Conflict it is told of.
Source: apiserver pkg/registry/generic/registry/store.go, pkg/registry/rest/{create,update,delete}.go.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta

from pullet.apiserver.admission_chain import AdmissionChain
from pullet.apiserver.admission_request import AdmissionRequest, Operation
from pullet.apiserver.managed_fields import FieldOwnership
from pullet.apiserver.records import Record, mutable_copy
from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.storage import Storage, Transaction
from pullet.apiserver.strategies import strategy_of
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.field_error import FieldError, invalid
from pullet.kube.meta import NAME_SUFFIX_ALPHABET, format_time, generated_name, name_of, namespace_of
from pullet.kube.scheme import Resource
from pullet.kube.status import AlreadyExistsError, ConflictError, InvalidError, NotFoundError
from pullet.policy.deletion import DeleteOptions, decide_grace, finalizers_for
from pullet.policy.ephemeral_validation import validate_ephemeral_update
from pullet.policy.object_validation import IMMUTABLE_TEXT, validate_metadata, validate_metadata_update

_UPDATE_TRIES = 50
SYSTEM_METADATA = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")

Change = Callable[[JsonObject], JsonObject | Awaitable[JsonObject]]
Collect = Callable[[Transaction, Record], None]


class Deleted(Value):
    """What a delete did: removed it (`is_gone`), or marked it for those who finish it."""

    record: Record
    is_gone: bool


class Writer:
    """Writes objects. Every method takes the resource and the request's context first."""

    def __init__(self, *, storage: Storage, admission: AdmissionChain, ownership: FieldOwnership, clock: Clock) -> None:
        self._storage = storage
        self._ownership = ownership
        self._admission = admission
        self._clock = clock

    async def create(
        self, resource: Resource, context: RequestContext, obj: JsonObject, *, is_applied: bool = False
    ) -> Record:
        """Store a new object, which is taken over; `is_applied`: it comes with its managedFields.

        Raises:
            AlreadyExistsError, InvalidError, ForbiddenError, NotFoundError (its namespace).
        """
        strategy = strategy_of(resource)
        meta = obj.setdefault("metadata", {})
        must_generate = not meta.get("name") and bool(meta.get("generateName"))
        if must_generate:
            meta["name"] = _generate(meta["generateName"])
        for name in (*SYSTEM_METADATA, "resourceVersion", "generation"):
            meta.pop(name, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = format_time(self._clock.now())
        strategy.prepare_create(obj)
        strategy.name_requester(obj, context.user.to_info())
        strategy.default(obj)
        if not is_applied:
            meta.pop("managedFields", None)
            self._ownership.track(resource, context, None, obj, subresource="", now=self._clock.now())
        request = AdmissionRequest(Operation.CREATE, resource, obj, None, context)
        obj = await self._admission.mutate(request)
        if resource.has_generation:
            obj["metadata"]["generation"] = 1
        strategy.default(obj)
        warnings = [*_inert_warnings(resource), *strategy.warnings(obj)]
        errors = validate_metadata(obj, resource.namespaced, strategy.name_problems)
        errors += [*strategy.validate(obj), *strategy.validate_create(obj), *strategy.validate_whole(obj, None)]
        self._check(resource, obj, errors)
        await self._admission.validate(request.with_object(obj))
        context.warnings += warnings
        for _ in range(8):
            async with self._storage.transaction() as transaction:
                self._admission.check_namespace(transaction.get, request)
                if transaction.get(resource.storage_key, namespace_of(obj), name_of(obj)) is None:
                    if context.dry_run:
                        return _unsaved(obj)
                    return transaction.put(resource.storage_key, obj)
            if not must_generate:
                break
            obj["metadata"]["name"] = _generate(meta["generateName"])
        error = AlreadyExistsError.on(resource, name_of(obj))
        if must_generate:
            error.message += ", the server was not able to generate a unique name for the object"
        raise error

    async def update(
        self,
        resource: Resource,
        context: RequestContext,
        namespace: str,
        name: str,
        change: Change,
        *,
        subresource: str = "",
        is_applied: bool = False,
    ) -> Record:
        """Store `change(copy of the current object)`; writing what is already there changes nothing.

        Raises:
            NotFoundError, ConflictError, InvalidError, ForbiddenError.
        """
        for _ in range(_UPDATE_TRIES):
            current = self._storage.get(resource.storage_key, namespace, name)
            if current is None:
                raise NotFoundError.on(resource, name)
            changed = change(mutable_copy(current.obj))
            obj = changed if isinstance(changed, dict) else await changed
            record = await self._replace(resource, context, current, obj, subresource, is_applied)
            if record is not None:
                return record
        raise ConflictError.on(resource, name)

    async def _replace(
        self,
        resource: Resource,
        context: RequestContext,
        current: Record,
        obj: JsonObject,
        subresource: str,
        is_applied: bool,
    ) -> Record | None:
        strategy = strategy_of(resource)
        old = current.obj
        stale = self._keep_identity(resource, current, obj)
        self._keep_untouchable(resource, old, obj, subresource)
        strategy.default(obj)
        if not is_applied:
            self._ownership.track(resource, context, old, obj, subresource=subresource, now=self._clock.now())
        request = AdmissionRequest(Operation.UPDATE, resource, obj, old, context, subresource)
        obj = await self._admission.mutate(request)
        if obj is not request.obj:  # a webhook made it anew
            self._keep_untouchable(resource, old, obj, subresource)
        is_changed = _is_changed(strategy.spec_fields or _content_fields(resource, obj, old), obj, old)
        if resource.has_generation and is_changed and subresource != "binding":
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        errors = [*stale, *validate_metadata_update(obj, old)]
        if subresource in ("", "ephemeralcontainers", "scale"):
            errors += strategy.validate(obj)
        if not subresource:
            errors += strategy.validate_update(obj, old)
        elif subresource == "ephemeralcontainers":
            errors += validate_ephemeral_update(obj, old)
        self._check(resource, obj, [*errors, *strategy.validate_whole(obj, old)])
        await self._admission.validate(request.with_object(obj))
        if not subresource:
            context.warnings += strategy.warnings(obj)
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if obj == old:
            return current
        if context.dry_run:
            return _unsaved(obj)
        async with self._storage.transaction() as transaction:
            if transaction.get(resource.storage_key, current.namespace, current.name) is not current:
                return None
            if _is_finished(resource, obj):
                return transaction.remove(resource.storage_key, Record.of(obj, current.resource_version))
            return transaction.put(resource.storage_key, obj)

    def _keep_identity(self, resource: Resource, current: Record, obj: JsonObject) -> list[FieldError]:
        """Carry over what only the server sets; refuse a stale version and another's uid.

        Returns: what the client says of these fields that is not so.
        """
        meta, old_meta = obj.setdefault("metadata", {}), current.obj["metadata"]
        asked = meta.get("resourceVersion")
        if asked and asked != old_meta["resourceVersion"]:
            raise ConflictError.on(resource, current.name)
        uid = meta.get("uid")
        if uid and uid != old_meta["uid"]:
            raise ConflictError.on(
                resource, current.name,
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old_meta['uid']}",
            )  # fmt: skip
        errors = [
            invalid(f"metadata.{name}", meta[name], IMMUTABLE_TEXT)
            for name in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
            if meta.get(name) is not None and meta[name] != old_meta.get(name)
        ]
        for name in (*SYSTEM_METADATA, "generation", "name", "namespace", "generateName"):
            if name in old_meta:
                meta[name] = old_meta[name]
            else:
                meta.pop(name, None)
        obj["apiVersion"], obj["kind"] = current.obj["apiVersion"], current.obj["kind"]
        return errors

    def _keep_untouchable(self, resource: Resource, old: JsonObject, obj: JsonObject, subresource: str) -> None:
        """A write touches its own part alone: status, ephemeral containers, or everything but the status."""
        match subresource:
            case "binding" | "finalize":
                return  # made by the server itself
            case "status" | "approval":
                _keep_all_but(old, obj, "status", _STATUS_METADATA if resource.custom else _WRITABLE_METADATA)
            case "ephemeralcontainers":
                spec = obj.get("spec")
                wanted = spec.get("ephemeralContainers") if isinstance(spec, dict) else None
                _keep_all_but(old, obj, "", _WRITABLE_METADATA)
                obj["spec"].pop("ephemeralContainers", None)
                if wanted:
                    obj["spec"]["ephemeralContainers"] = wanted
            case _:
                if resource.has_status:
                    obj.pop("status", None)
                    if "status" in old:
                        obj["status"] = old["status"]
                if resource is scheme.NAMESPACES:
                    obj["spec"] = old.get("spec", {})  # its finalizers change through /finalize alone

    async def delete(
        self,
        resource: Resource,
        context: RequestContext,
        namespace: str,
        name: str,
        options: DeleteOptions,
        *,
        is_admitted: bool = False,
    ) -> Deleted:
        """End an object, or mark it for whoever must finish first (kubelet, finalizers, garbage collector).

        `is_admitted`: admission has seen the request already, in another form (an eviction).

        Raises:
            NotFoundError, ConflictError (preconditions), ForbiddenError.
        """
        for _ in range(_UPDATE_TRIES):
            current = self._storage.get(resource.storage_key, namespace, name)
            if current is None:
                raise NotFoundError.on(resource, name)
            if not is_admitted:
                asked = AdmissionRequest(
                    Operation.DELETE, resource, None, current.obj, context, options=options.to_body()
                )
                await self._admission.validate(asked)
            async with self._storage.transaction() as transaction:
                found = transaction.get(resource.storage_key, namespace, name)
                if found is current:
                    return self._delete(transaction, resource, context, current, options)
        raise ConflictError.on(resource, name)

    def _delete(
        self,
        transaction: Transaction,
        resource: Resource,
        context: RequestContext,
        current: Record,
        options: DeleteOptions,
    ) -> Deleted:
        why = options.broken_precondition(current.obj)
        if why:
            raise ConflictError.on(resource, current.name, why)
        grace = decide_grace(resource, current.obj, options)
        finalizers = finalizers_for(resource, current.obj, options)
        obj = mutable_copy(current.obj)
        meta = obj["metadata"]
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        if not grace.is_shortened and "deletionTimestamp" in meta:
            grace_seconds = meta.get("deletionGracePeriodSeconds", 0)
        else:
            grace_seconds = grace.seconds
            ends_at = self._clock.now() + timedelta(seconds=grace_seconds)
            meta["deletionTimestamp"] = format_time(ends_at)
            meta["deletionGracePeriodSeconds"] = grace_seconds
            if "generation" in meta:
                meta["generation"] += 1
        strategy_of(resource).prepare_delete(obj)
        is_gone = _is_finished(resource, obj)
        if context.dry_run:
            return Deleted(_unsaved(obj), is_gone)
        if is_gone:
            return Deleted(transaction.remove(resource.storage_key, current), is_gone=True)
        if obj == current.obj:
            return Deleted(current, is_gone=False)
        return Deleted(transaction.put(resource.storage_key, obj), is_gone=False)

    @staticmethod
    def _check(resource: Resource, obj: JsonObject, errors: list[FieldError]) -> None:
        if errors:
            meta = obj.get("metadata") or {}
            raise InvalidError.on(
                resource.group, resource.kind, str(meta.get("name") or meta.get("generateName") or ""), errors
            )


def _inert_warnings(resource: Resource) -> list[str]:
    return [f"{resource.kind} is stored, but does nothing here: {resource.inert}"] if resource.inert else []


# what a write of one part alone may change of the metadata; of custom resources it may not change any
_WRITABLE_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "managedFields")
_STATUS_METADATA = ("managedFields",)


def _content_fields(resource: Resource, obj: JsonObject, old: JsonObject) -> set[str]:
    """Everything but what every object has, and the status where it is written apart."""
    apart = {"apiVersion", "kind", "metadata", *(("status",) if resource.has_status else ())}
    return {*obj, *old} - apart


def _is_changed(fields: Iterable[str], obj: JsonObject, old: JsonObject) -> bool:
    return any(obj.get(name) != old.get(name) for name in fields)


def _keep_all_but(old: JsonObject, obj: JsonObject, part: str, writable: Sequence[str]) -> None:
    """Everything in `obj` becomes as it was, but for `part` and the `writable` metadata."""
    mine = obj.get(part)
    meta = mutable_copy(old["metadata"])
    for name in writable:
        if name in obj["metadata"]:
            meta[name] = obj["metadata"][name]
        else:
            meta.pop(name, None)
    if "resourceVersion" in obj["metadata"]:
        meta["resourceVersion"] = obj["metadata"]["resourceVersion"]
    obj.clear()
    obj.update({key: value for key, value in mutable_copy(old).items() if key != part}, metadata=meta)
    if part and mine is not None:
        obj[part] = mine


def _is_finished(resource: Resource, obj: JsonObject) -> bool:
    """Whether an object marked for deletion has nothing left to wait for."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (resource is scheme.NAMESPACES and (obj.get("spec") or {}).get("finalizers"))


def _unsaved(obj: JsonObject) -> Record:
    """The answer of a dry run: the object without a version of its own."""
    version = obj["metadata"].get("resourceVersion")
    record = Record.of(obj, int(version or 0))
    if not version:
        del obj["metadata"]["resourceVersion"]
        return Record.unversioned(obj)
    return record


def _generate(prefix: str) -> str:
    return generated_name(prefix, "".join(random.choices(NAME_SUFFIX_ALPHABET, k=5)))
