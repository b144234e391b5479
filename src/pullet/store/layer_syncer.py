"""Brings layers to the disk itself behind the pull's back, and remembers that it did."""

from __future__ import annotations

import logging
import queue
import threading

from pullet.store.layer_form import LayerForms
from pullet.store.layer_records import Layer, LayerRecords

log = logging.getLogger(__name__)


class LayerSyncer:
    """One background thread; layers in the order they came."""

    def __init__(self, form: LayerForms, records: LayerRecords) -> None:
        self._form, self._records = form, records
        self._queue: queue.Queue[Layer | None] = queue.Queue()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def enqueue(self, layer: Layer) -> None:
        """Sync `layer` soon."""
        with self._lock:
            if self._closing:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="layer-sync", daemon=True)
                self._thread.start()
            self._queue.put(layer)

    def wait(self) -> None:
        """Until everything enqueued so far is synced."""
        self._queue.join()

    def close(self) -> None:
        """Finish the one under way, skip the rest."""
        with self._lock:
            self._closing = True
            thread = self._thread
            self._queue.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (layer := self._queue.get()) is not None:
            try:
                if not self._closing:
                    self._form.sync(layer)
                    self._records.mark_synced(layer.diff_id, layer.form)
            except OSError as error:  # removed meanwhile, or the disk fails: it stays marked as not synced
                log.warning("cannot sync layer", extra={"diff_id": layer.diff_id, "error": str(error)})
            finally:
                self._queue.task_done()
        self._queue.task_done()
