"""The searcher of the run that is published now, exchanged when another one is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from vsspark.config import Config
from vsspark.masking import mask_text
from vsspark.query.ask import Searcher
from vsspark.storage.reader import PublishedTables

log = logging.getLogger("vsspark")


class Current:
    """Holds one searcher, two while the next one is read; vectors are pages of files and count once.

    Raises what `Searcher` raises where the first one cannot be made. A later run that cannot be read is said once and
    tried again; the one before goes on answering.
    """

    def __init__(self, config: Config, storage_options: Mapping[str, str]):
        self._config, self._options = config, storage_options
        self._tables = PublishedTables(config.output, storage_options)
        self._state = self._tables.publish_state()
        self.searcher = self._read()
        self.complaint: str | None = None  # why the newest run is not the one that answers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="publishes", daemon=True)

    def follow(self) -> None:
        """Look for new publishes from now on, every live.poll_s, until `close`."""
        self._thread.start()

    def close(self) -> None:
        """End the looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def look(self) -> None:
        """Look once."""
        try:
            state = self._tables.publish_state()
            searcher = self.searcher if state == self._state else self._read()
        except Exception as error:  # a store or a table may raise anything; the next look tries again
            complaint = mask_text(f"{type(error).__name__}: {error}")
            if complaint != self.complaint:
                log.warning("live       still run %s: %s", self.searcher.run_id, complaint)
            self.complaint = complaint
            return
        if searcher is not self.searcher:
            log.info("live       run %s in place of %s", searcher.run_id, self.searcher.run_id)
        self.searcher, self._state, self.complaint = searcher, state, None

    def _follow(self) -> None:
        while not self._stop.wait(self._config.live.poll_s):
            self.look()

    def _read(self) -> Searcher:
        searcher = Searcher(self._config, self._options, links=True)
        searcher.warm_up()
        return searcher
