"""Looking after a node's images and store, for people: disk use, collection, access, check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from pullet.base.errors import PulletError, UsageError
from pullet.control.images import NodeImages
from pullet.cri.maintenance import StoreFinding, StoreMaintenance
from pullet.cri.types import ImageSpec
from pullet.policy.image_gc import CollectionPlan
from pullet.policy.pull_record import ImageAccess
from pullet.policy.pull_verification import Accessible, AccessReport, MustProve, trimmed_name


class ImageCollector(Protocol):
    """The node's image garbage collection."""

    async def plan(self, *, removes_all_unused: bool) -> CollectionPlan:
        """What a run would do."""
        ...

    async def collect(self) -> int:
        """Run by the settings; the bytes freed for space, as the kubelet counts them."""
        ...

    async def delete_unused_images(self) -> int:
        """Remove all that may go."""
        ...


class AccessRecords(Protocol):
    """The node's records of who proved access to what."""

    async def describe_access(self, *, image: str, image_ref: str) -> AccessReport:
        """Who may use the image."""
        ...


class NodeMaintenance:
    """Answers as JSON values. `collector` and `records` give None while there is no running node (or no records)."""

    def __init__(
        self,
        *,
        images: NodeImages,
        collector: Callable[[], ImageCollector | None] = lambda: None,
        records: Callable[[], AccessRecords | None] = lambda: None,
    ) -> None:
        self._images, self._collector, self._records = images, collector, records

    async def disk_usage(self) -> dict[str, Any]:
        """Bytes per image, unique and shared, and of the whole store."""
        usage = await self._store().disk_usage()
        images = [
            {**msgspec.structs.asdict(each), "last_used_at": _time(each.last_used_at)}
            for each in sorted(usage.images, key=lambda each: each.unique_bytes + each.shared_bytes, reverse=True)
        ]
        return {**msgspec.structs.asdict(usage), "images": images}

    async def collect_images(self, *, is_plan: bool, removes_all_unused: bool) -> dict[str, Any]:
        """One garbage collection, or what it would do; `freed_bytes` is exact: what no other image holds.

        Raises:
            UsageError: no node runs.
            PulletError: an image could not be removed, or not enough could be freed.
        """
        collector = self._collector()
        if collector is None:
            raise UsageError("no node is running here that could say what is in use: start it with `pullet up`")
        plan = await collector.plan(removes_all_unused=removes_all_unused)
        names = {row["id"]: row["repo_tags"] or row["repo_digests"] for row in await self._images.rows()}
        store = self._store()
        usage = await store.disk_usage()
        sizes = {each.id: each for each in usage.images}
        freed = usage.orphan_bytes if removes_all_unused or plan.need.to_free_bytes else 0
        freed += await store.freed_by_removing(plan.removed_ids)
        verdicts = [
            {
                **msgspec.structs.asdict(verdict),
                "names": list(names.get(verdict.id, ())),
                "unique_bytes": sizes[verdict.id].unique_bytes if verdict.id in sizes else 0,
                "shared_bytes": sizes[verdict.id].shared_bytes if verdict.id in sizes else 0,
            }
            for verdict in plan.verdicts
        ]
        answer: dict[str, Any] = {
            "usage_percent": plan.need.usage_percent,
            "to_free_bytes": plan.need.to_free_bytes,
            "images": verdicts,
            "freed_bytes": freed,
        }
        if not is_plan:
            before = usage.layer_bytes + usage.blob_bytes
            await (collector.delete_unused_images() if removes_all_unused else collector.collect())
            after = await store.disk_usage()
            answer["freed_bytes"] = before - after.layer_bytes - after.blob_bytes
            answer["removed"] = sorted(sizes.keys() - {each.id for each in after.images})
        return answer

    async def access(self, image: str) -> dict[str, Any]:
        """Who may use the image on this node, by each name it was pulled under, and why.

        Raises:
            UsageError: no such image, or the node keeps no records.
        """
        records = self._records()
        if records is None:
            raise UsageError("this node checks nobody's access to present images (KubeletEnsureSecretPulledImages off)")
        found = await self._images.service.image_status(ImageSpec(image))
        if found is None:
            raise UsageError(f"there is no image {image!r} on this node")
        report = await records.describe_access(image=image, image_ref=found.id)
        match report.answer:
            case Accessible(reason):
                answer, why = "every pod", reason
            case MustProve(reason):
                answer, why = "whoever the registry lets pull it", reason
            case _:
                answer, why = "pods with a credential on record", "it was pulled with a pod's own credential"
        access = report.record.access if report.record is not None else {}
        return {
            "image": image,
            "id": found.id,
            "name": trimmed_name(image),
            "who": answer,
            "why": why,
            "recorded": [{"name": name, "openers": _openers(each)} for name, each in sorted(access.items())],
            "last_updated_at": report.record.last_updated_at if report.record is not None else "",
        }

    async def check_store(self, *, repair: bool) -> dict[str, Any]:
        """What is wrong in the store. With `repair`, what an image lacks is fetched again, and only that.

        An image that cannot be fetched again is forgotten, so that the next pod that names it pulls it with its own
        credentials instead of finding half of it.
        """
        findings = list(await self._store().check_store(repair=repair))
        broken = sorted({image for finding in findings for image in finding.images})
        mended = {}
        if repair:
            digests = {each.id: each.digests for each in (await self._store().disk_usage()).images}
            mended = {image: await self._mend(image, digests.get(image, ())) for image in broken}
        return {
            "findings": [_finding(each, mended) for each in findings],
            "mended": [{"image": image, "how": how} for image, how in mended.items()],
        }

    async def _mend(self, image_id: str, digests: Sequence[str]) -> str:
        name = next(iter(digests), "")
        try:
            if not name:
                raise UsageError("it has no name by digest to pull it by")
            async for _ in self._images.pull(name):
                pass
        except PulletError as error:
            await self._images.service.remove_image(ImageSpec(image_id))
            return f"forgotten, the next pod that needs it pulls it: {error}"
        return f"fetched again as {name}"

    def _store(self) -> StoreMaintenance:
        service = self._images.service
        if not isinstance(service, StoreMaintenance):
            raise UsageError("this node's runtime keeps its images itself: ask it about them")
        return service


def _finding(finding: StoreFinding, mended: dict[str, str]) -> dict[str, Any]:
    is_mended = bool(finding.images) and all(mended.get(image, "").startswith("fetched") for image in finding.images)
    return {
        **msgspec.structs.asdict(finding),
        "images": list(finding.images),
        "is_repaired": finding.is_repaired or is_mended,
    }


def _openers(access: ImageAccess) -> list[str]:
    if access.node_pods_accessible:
        return ["every pod of this node"]
    secrets = [f"secret {each.source.namespace}/{each.source.name}" for each in access.secrets]
    return secrets + [f"service account {each.namespace}/{each.name}" for each in access.service_accounts]


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at is not None else None
