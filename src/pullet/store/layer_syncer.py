"""Brings layers to the disk itself behind the pull's back, and remembers that it did.

It waits for a moment without new layers: writing back while a pull is under way takes the disk from the pull. A
process that ends before that leaves its layers marked as not synced; the next one of the same boot syncs them, and
after a crash of the machine they are verified.
"""

from __future__ import annotations

import logging
import queue
import threading

from pullet.store.layer_form import LayerForms
from pullet.store.layer_records import Layer, LayerRecords

QUIET_SECONDS = 2.0
log = logging.getLogger(__name__)


class LayerSyncer:
    """One background thread; layers in the order they came."""

    def __init__(self, form: LayerForms, records: LayerRecords) -> None:
        self._form, self._records = form, records
        self._queue: queue.Queue[Layer | None] = queue.Queue()
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def enqueue(self, layer: Layer) -> None:
        """Sync `layer` soon."""
        with self._lock:
            if self._closing.is_set():
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="layer-sync", daemon=True)
                self._thread.start()
            self._queue.put(layer)

    def wait(self) -> None:
        """Sync everything enqueued so far, now."""
        self._hurry.set()
        self._queue.join()
        self._hurry.clear()

    def close(self) -> None:
        """Finish the one under way, skip the rest."""
        with self._lock:
            self._closing.set()
            self._hurry.set()
            thread = self._thread
            self._queue.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (layer := self._queue.get()) is not None:
            size = -1
            while size != self._queue.qsize() and not self._hurry.is_set():
                size = self._queue.qsize()
                self._hurry.wait(QUIET_SECONDS)
            try:
                if not self._closing.is_set():
                    self._form.sync(layer)
                    self._records.mark_synced(layer.diff_id, layer.form)
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as error:  # it stays marked as not synced
                log.warning("cannot sync layer", extra={"diff_id": layer.diff_id, "error": str(error)})
            finally:
                self._queue.task_done()
        self._queue.task_done()
