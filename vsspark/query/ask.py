"""Pictures in, similar products out: the encoder, the categories and the search of the run that is published now.
No Spark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from vsspark import encoders
from vsspark.blocks.head import Head
from vsspark.config import BlockingConfig, Config, ImagesConfig, RecommendConfig, recorded_settings
from vsspark.embed.version import stored_version
from vsspark.encoders import Encoder
from vsspark.encoders.registry import MLFLOW_SCHEMES
from vsspark.errors import ConfigError, StorageError
from vsspark.progress import Progress
from vsspark.query.answers import Answer, Similar
from vsspark.query.links import product_link, template_columns
from vsspark.query.medians import median_thresholds
from vsspark.query.pictures import Picture, PictureEmbedding, Probes, embed_pictures, probed_categories
from vsspark.query.products import Products, read_products
from vsspark.query.search import Nearest, Space, nearest_products
from vsspark.query.vectors import read_vectors
from vsspark.storage.reader import PublishedTables

_GREY = cv2.imencode(".png", np.full((64, 64, 3), 127, np.uint8))[1].tobytes()


def answer_images(
    config: Config, storage_options: Mapping[str, str], images: Sequence[str], k: int
) -> tuple[str, list[Answer]]:
    """(id of the published run, an answer per image in their order). images: local paths or s3a:// URIs.

    Raises StorageError where nothing is published, ConfigError where `encoder` is not what the published run embedded
    with.
    """
    searcher = Searcher(config, storage_options)
    return searcher.run_id, searcher.answer([Picture(image) for image in images], k)


class Searcher:
    """The published run, ready to be asked; it stays at this run whatever is published later.

    Where an encoder has no head of its own, the one the published run's categories were predicted with is taken from
    `_heads`. Tables and vectors are read when the first picture needs them. links: look for products' pages among the
    catalogue's further columns, too, which takes memory for all of these.
    """

    def __init__(self, config: Config, storage_options: Mapping[str, str], links: bool = False):
        self._config, self._options, self._links = config, storage_options, links
        self._progress = Progress(lambda stage: None)
        self._tables = PublishedTables(config.output, storage_options)
        self._run = self._tables.published_run()
        self.run_id: str = self._run["run_id"]
        recorded = self._run["config"]
        self._blocking = recorded_settings(BlockingConfig, recorded["blocking"])
        self._pictures = _images_config(config, recorded)
        with self._progress.stage("encoder", f"loading {config.encoder.name}"):
            self._unit_norm = config.encoder.model_copy(update={"unit_norm": recorded["encoder"]["unit_norm"]})
            self._encoder = _same_encoder(config, self._pictures, self._run, storage_options)

    def answer(self, pictures: Sequence[Picture], k: int) -> list[Answer]:
        """An answer per picture, in their order: k products, or why there are none."""
        # A caller may name any picture; the roots bind the catalogue.
        unrestricted = self._pictures.model_copy(update={"link_roots": None})
        rows = embed_pictures(pictures, self._encoder, unrestricted, self._unit_norm, self._options)
        usable = [i for i, row in enumerate(rows) if row.reason is None]
        answers = [Answer(picture.uri, row.reason, row.detail) for picture, row in zip(pictures, rows, strict=True)]
        if not usable:
            return answers
        probes = self._probes([rows[i] for i in usable])
        self.load()
        for i, probed in zip(usable, probes, strict=True):
            similar = self._similar(rows[i].embedding, probed, k)
            answers[i] = Answer(pictures[i].uri, categories=probed, similar=similar)
        return answers

    def load(self) -> None:
        """Read tables and vectors, where nobody has yet."""
        if "_space" not in self.__dict__:
            with self._progress.stage("index", f"reading run {self.run_id}") as stage:
                stage.count(pictures=sum(len(part.images) for part in self._space.parts))

    def warm_up(self) -> None:
        """Do what a first answer does once: read tables, head and vectors, load the network."""
        self.load()
        for part in self._space.parts:
            part.squares  # noqa: B018
        self.answer([Picture("warm-up", data=_GREY)], 1)

    @cached_property
    def products(self) -> Products:
        """The run's images and products."""
        by_catalogue = self._blocking.by == "catalogue_category"
        named = set(template_columns(self._config.live.link or "")) - {"product_id"}
        return read_products(self._tables, self._run, by_catalogue, attributes=self._links or bool(named))

    @cached_property
    def _space(self) -> Space:
        products, metric = self.products, self._run["config"]["knn"]["metric"]
        stocked = products.embedded & products.recommendable(self._config.recommend.item_limits)[products.product]
        all_images = metric == "hamming"  # whose thresholds are medians of all
        parts = read_vectors(self._tables, self._run, products, products.embedded if all_images else stocked)
        thresholds = median_thresholds(parts, products.image_ids) if all_images else None
        if all_images:
            parts = [part.only(stocked) for part in parts]
        return Space(parts, products.image_ids, products.product, products.category, metric, thresholds)

    @cached_property
    def _head(self) -> Head:
        return read_head(self._tables, self.products.head())

    def _probes(self, rows: Sequence[PictureEmbedding]) -> list[Probes]:
        """Each picture's categories, by the encoder's own head, or by the one the run's categories were predicted
        with; none where the run has one block.
        """
        if self._blocking.by == "none":
            return [()] * len(rows)
        if self._encoder.categories is not None and self._blocking.by != "cluster":
            names, found = self._encoder.categories, np.array([row.probabilities for row in rows], np.float32)
        else:
            names = self._head.categories
            found = self._head.probabilities(np.array([row.embedding for row in rows], np.float32))
        return [probed_categories(each, names, self._blocking) for each in found]

    def _similar(self, embedding: np.ndarray, probes: Probes, k: int) -> tuple[Similar, ...]:
        """The products of the probed categories first, then, where these are too few, the nearest of all others."""
        recommend: RecommendConfig = self._config.recommend
        codes = {name: code for code, name in enumerate(self.products.category_names)}
        probed = [codes[name] for name, _ in probes if name in codes] if probes else None
        found = self._described(nearest_products(self._space, embedding, probed, k), "visual")
        if probes and recommend.backfill and len(found) < k:
            present = {product["product_id"] for product in found}
            everywhere = self._described(nearest_products(self._space, embedding, None, k), "backfill")
            found += [product for product in everywhere if product["product_id"] not in present][: k - len(found)]
        return tuple(Similar(rank, **product) for rank, product in enumerate(found, 1))

    def _described(self, nearest: Nearest, source: str) -> list[dict[str, Any]]:
        products, rows = self.products, []
        for value, image in zip(nearest.values.tolist(), nearest.images.tolist(), strict=True):
            facts = products.facts(int(products.product[image]))
            rows.append(
                {
                    "product_id": facts.product_id,
                    "image_id": int(products.image_ids[image]),
                    "image_uri": products.uri(image),
                    "category": facts.category,
                    "price": facts.price,
                    "similarity": value if self._space.metric == "cosine" else 1 / (1 + value),
                    "source": source,
                    "name": facts.name,
                    "in_stock": facts.in_stock,
                    "link": product_link(self._config.live.link, facts),
                }
            )
        return rows


def _images_config(config: Config, recorded: Mapping[str, Any]) -> ImagesConfig:
    """The `images` section, its foreground that of the run: a query is cut out as the catalogue's pictures were."""
    return config.images.model_copy(update={"foreground": recorded["images"].get("foreground", "none")})


def _same_encoder(
    config: Config, images: ImagesConfig, run: Mapping[str, Any], storage_options: Mapping[str, str]
) -> Encoder:
    recorded = run["config"]["encoder"]
    if config.encoder.name.startswith(MLFLOW_SCHEMES):
        from vsspark.tracking import use_tracking_store

        use_tracking_store(config.mlflow)
    encoder = encoders.load_configured(config.encoder, storage_options)
    unit_norm = config.encoder.model_copy(update={"unit_norm": recorded["unit_norm"]})
    version = stored_version(encoder, unit_norm, images)
    if version != run["model_version"]:
        settings = ", ".join(f"{key}={recorded[key]}" for key in ("name", "weights", "layer"))
        raise ConfigError(
            f"encoder: got model version {version}, the published run {run['run_id']} has {run['model_version']}: "
            f"give its encoder, {settings}"
        )
    return encoder


def read_head(tables: PublishedTables, digest: str | None) -> Head:
    """The head of this digest. Raises StorageError where no run has kept it."""
    names = ["categories", "weights", "bias"]
    rows = tables.read("_heads", None, names, ("head", str(digest))).to_pylist() if tables.exists("_heads") else []
    if not rows:
        raise StorageError(
            f"the published categories were predicted by head {digest}, "
            f"which is not in _heads below output.path={tables.root}: run jobs/recommend.py"
        )
    categories = tuple(rows[0]["categories"])
    weights = np.frombuffer(rows[0]["weights"], "<f4").reshape(-1, len(categories))
    return Head(weights, np.frombuffer(rows[0]["bias"], "<f4"), categories)
