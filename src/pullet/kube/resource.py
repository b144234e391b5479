"""What one row of the resource table says; the rows are in `scheme`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pullet.base.values import Value
from pullet.kube.custom_kind import CustomKind

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS_VERBS = ("get", "patch", "update")
VIRTUAL_VERBS = ("create",)


class Subresource(Value):
    """A path below an object, with the kind its body has (the parent's kind when `kind` is empty)."""

    name: str
    verbs: tuple[str, ...]
    kind: str = ""
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One row: a kind as served under one group and version."""

    group: str  # "" is the core group
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    verbs: tuple[str, ...] = STANDARD_VERBS
    field_labels: tuple[str, ...] = ()  # field selectors beyond metadata.name and metadata.namespace
    has_status: bool = False  # spec changes bump metadata.generation, status is written through /status alone
    has_generation: bool = False
    storage: str = field(default="")  # "group/plural" the objects are kept under; set for a second view of a kind
    inert: str = ""  # what does not happen here, of a kind that is kept for its clients alone; they are warned of it
    custom: CustomKind | None = field(default=None, compare=False)  # set for rows that a definition made

    @property
    def group_version(self) -> str:
        """What `apiVersion` says: `v1` or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def api_version(self) -> str:
        """Same as `group_version`, in the object's own word."""
        return self.group_version

    @property
    def group_resource(self) -> str:
        """The name error texts use: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def list_kind(self) -> str:
        """The kind of a list of these."""
        return self.custom.list_kind if self.custom else f"{self.kind}List"

    @property
    def storage_key(self) -> str:
        """Where the objects live, shared by all views of one kind."""
        return self.storage or f"{self.group}/{self.plural}"

    @property
    def is_stored(self) -> bool:
        """Whether objects persist; reviews only answer."""
        return "get" in self.verbs

    @property
    def root_path(self) -> str:
        """The path of the group and version: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, object or subresource; no namespace means all of them."""
        parts = [self.root_path]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def subresource(self, name: str) -> Subresource | None:
        """The subresource called `name`, if served."""
        return next((sub for sub in self.subresources if sub.name == name), None)

    def __str__(self) -> str:
        return self.group_resource
