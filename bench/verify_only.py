"""The limit of a pull: download, inflate and both hashes with our own pipeline, nothing parsed, nothing written.

`python -m bench.verify_only REFERENCE`. What a pull takes beyond this is what making the file system costs.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pullet.engine.pull import PullLimits
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import StopFlag
from pullet.oci.digest import DiffID
from pullet.oci.image_config import decode_image_config
from pullet.oci.manifest import Manifest, decode_manifest
from pullet.oci.reference import parse_normalized
from pullet.registry.client import RegistryClient
from pullet.registry.hosts import HostsConfig
from pullet.registry.transport import Caller
from pullet.store.layer_form import TarSource
from pullet.store.layer_records import Layer, LayerForm, LayerNeeds
from pullet.store.settings import StoreSettings
from pullet.store.unpack import UnpackJob
from pullet.store.zstd_frames import LargeWindow


class Nothing:
    """Layers that are only verified."""

    form, makes_files, root = LayerForm.EROFS, False, Path("/nowhere")

    def start(self, compressed_bytes: int) -> Nothing:
        return self

    def write(self, data: bytes | memoryview) -> None:
        pass

    def walk(self, data: bytes | memoryview) -> None:
        pass

    def commit(self, diff_id: DiffID) -> Layer:
        return Layer(
            diff_id=diff_id, form=self.form, path=self.root, tar_bytes=0, disk_bytes=0, needs=LayerNeeds()
        )  # fmt: skip

    def abort(self) -> None:
        pass

    def path(self, diff_id: str) -> Path:
        return self.root

    def open_tar(self, layer: Layer) -> TarSource:
        raise NotImplementedError

    def verify(self, layer: Layer) -> bool:
        return True

    def sync(self, layer: Layer) -> None:
        pass

    def detach(self, diff_id: str) -> Path | None:
        return None

    def dispose(self, path: Path) -> None:
        pass

    def sweep(self, known: object) -> int:
        return 0


def main(image: str) -> None:
    reference = parse_normalized(image)
    registry = RegistryClient(HostsConfig(certs_directories=(), mirrors={}), clock=SystemClock())
    caller = Caller(stop=StopFlag())
    resolved = registry.resolve(reference, caller).descriptor
    document = decode_manifest(registry.fetch_manifest(reference, resolved, caller), resolved.media_type)
    manifest = document.value
    assert isinstance(manifest, Manifest)
    config = decode_image_config(registry.fetch_config(reference, manifest.config, caller)).value
    nothing, large_window = Nothing(), LargeWindow()

    def verify(number: int) -> None:
        blob, diff_id = manifest.layers[number], config.diff_ids[number]
        job = UnpackJob(
            descriptor=blob,
            diff_id=diff_id,
            form=nothing,
            settings=StoreSettings(),
            stop=StopFlag(),
            keep=None,
            large_window=large_window,
        )
        with registry.open_blob(reference, blob, caller) as stream:
            job.run(stream, lambda _count: None)

    layers = manifest.layers
    with ThreadPoolExecutor(PullLimits().layers_per_pull) as pool:
        list(pool.map(verify, sorted(range(len(layers)), key=lambda number: -layers[number].size)))
    registry.close()


if __name__ == "__main__":
    main(sys.argv[1])
