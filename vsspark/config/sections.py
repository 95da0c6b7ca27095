"""Every key of a run's configuration, with its meaning, unit and default: one frozen section per stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vsspark.config.catalogue import CatalogueConfig
from vsspark.config.encoder import EncoderConfig
from vsspark.config.recommend import RecommendConfig
from vsspark.config.section import Positive, Section, Share
from vsspark.config.training import TrainingConfig
from vsspark.masking import masked


class DemoConfig(Section):
    """The generated catalogue that stands in when `catalogue.table` is null."""

    products: Positive = 240  # drawn
    seed: int = 7  # of everything that is drawn: the same seed, the same pictures
    path: str = "build/demo"  # where the pictures and the table are written


class ImagesConfig(Section):
    max_bytes: Positive = 64 * 2**20  # larger files are quarantined unread
    # width x height; a decode needs 12 bytes a pixel, of WebP and AVIF 19. Cameras have up to 64 million.
    max_pixels: Positive = 65_000_000
    min_side: Positive = 8  # pixels; tracking pixels and placeholders are no product photos
    # Products that may share one picture; one that more share is a placeholder, and set aside. null = 10, or three
    # times what 90 % of the catalogue's pictures stay below, whichever is more.
    shared_by_at_most: Positive | None = None
    # Local files may lie only below these, links followed; null = catalogue.allowed_roots.
    link_roots: tuple[str, ...] | None = None
    # Requests in flight per Python worker: a store 50 ms away then costs 1.2 times what local files do, 1.3 with 8.
    fetch_threads: Positive = 16
    # Of a picture without a box the encoder sees all (none), the rectangle around the foreground (crop), or that
    # rectangle with a white background (blank).
    foreground: Literal["none", "crop", "blank"] = "none"
    # Seconds that decoding one picture may take, else it is quarantined as too_slow. 49 million pixels take 1 to 9 s.
    decode_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    timeout_s: Annotated[float, Field(gt=0)] = 20.0  # per request to object storage or a web server
    attempts: Positive = 4  # per object, with exponential backoff in between
    host_requests: Positive = 8  # requests in flight to one web server, per Python worker
    # Other hosts that a web address may lead to by a redirect, such as cdn.example.com or *.example.com.
    redirect_hosts: tuple[str, ...] = ()
    # Web servers that may have an address inside a network; a feed's other addresses must be public.
    private_hosts: tuple[str, ...] = ()


class BlockingConfig(Section):
    # What products are searched beside: those of the category that the encoder, or a head fitted to the catalogue's
    # categories, sees in the picture; of the catalogue's own category; of a cluster of vectors; none = all.
    by: Literal["predicted_category", "catalogue_category", "cluster", "none"] = "predicted_category"
    probes: Positive = 3  # at most so many categories are searched per query image ...
    probability: Share = 0.95  # ... and no more once their probabilities add up to this
    # For `cluster`, and for catalogues without labels; null = sqrt(images / 50), 2 to 1000.
    clusters: Positive | None = None
    fit_sample: Positive = 20_000  # images the softmax head or the clusters are fitted on, at most
    # Share of the labelled products the head's accuracy is measured on.
    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    # A fitted head is used again, night after night, until it is right for so much smaller a share of the labelled
    # images; null = fitted in every run.
    refit_loss: Share | None = 0.01
    seed: int = 0  # of the sample and the held-out products


class KnnConfig(Section):
    k: Positive = 20  # neighbours kept per image, each the best image of another product; never fewer than recommend.k
    # How near two vectors are: cosine, Euclidean or city-block distance, or equal bits of vectors cut at their medians.
    metric: Literal["cosine", "l2", "l1", "hamming"] = "cosine"
    mode: Literal["exact", "approximate"] = "exact"  # approximate: quicker where categories are large
    # Recall@k the approximate mode must reach, audited in every run.
    target_recall: Annotated[float, Field(gt=0.0, le=1.0)] = 0.99
    device: Literal["auto", "cpu", "gpu"] = "auto"  # auto: GPUs where the executors have them, for cosine and l2
    tile_rows: Positive = 8192  # rows per tile; a task holds two tiles: 2 * tile_rows * d * 4 bytes
    seed: int = 0  # of the approximate search: the same seed, the same lists


class GateConfig(Section):
    """Limits a run must keep to be published. Comparisons are with the run that is published now.

    Where a limit is on a share of a sample, what that sample's size shows by chance once in a hundred times is allowed.
    """

    max_quarantined: Share = 0.2  # share of the catalogue's images, placeholders left out
    # Share of products with a usable image that got a full list, or all that the rules of `recommend` let through.
    min_coverage: Share = 0.9
    min_products: Positive = 2  # products with at least one recommendation
    min_recommended: Share = 0.1  # share of the recommendable products that are in at least one list
    # How much better than chance categories must be, as a share of the way from chance to 1: rank-1 products against
    # the same picks dealt out at random, the head on held-out images against naming the commonest category.
    min_category_skill: Share = 0.2
    # Least audited recall@k of an approximate search; null = knn.target_recall less .01, the audit's own error.
    min_recall: Share | None = None
    max_hubness: Annotated[float, Field(ge=1.0)] = 50.0  # lists of the most recommended product / the average's
    # Hubness as a multiple of the published run's; 5 always passes.
    max_hubness_growth: Annotated[float, Field(ge=1.0)] = 3.0
    # How far rank-1 category agreement, and the head's held-out accuracy, may fall below the published run's.
    max_category_loss: Share = 0.1
    max_products_lost: Share = 0.3  # share of the published products that have no list any more
    max_changed: Share = 0.7  # share of the recommendations of products in both runs that are others now
    max_changed_model: Share = 0.95  # the same where the model version is another; never below max_changed
    # Kolmogorov-Smirnov distance of the two distributions of rank-1 similarity; same model version only, since cosines
    # of two encoders are not comparable.
    max_drift: Share = 0.2


class OutputConfig(Section):
    path: Annotated[str, Field(min_length=1)] = "build/out"  # a folder or s3a://...
    format: Literal["delta", "parquet"] = (
        "delta"  # parquet: for readers without Delta; no earlier versions but of lists
    )
    keep_days: Positive = 7  # days that earlier versions of the Delta tables stay readable, and `rollback` reaches back
    # Where BI finds the tables by name: catalog.schema of the session's metastore, named after every publish, with
    # the view top_similar_products; null = nowhere.
    register_as: Annotated[str, Field(pattern=r"^[\w-]+\.[\w-]+$")] | None = None

    @model_validator(mode="after")
    def _delta_has_comments(self) -> OutputConfig:
        if self.register_as is not None and self.format != "delta":
            raise ValueError(f"register_as names Delta tables: got format={self.format}, expected delta")
        return self


class ReportConfig(Section):
    path: str | None = None  # the HTML file, on the driver's disk; null = build/report/RUN_ID.html
    examples: Positive = 12  # products shown best first, and as many worst first
    neighbours: Positive = 6  # recommendations shown beside each


class MlflowConfig(Section):
    tracking_uri: str = "sqlite:///build/mlflow.db"  # where runs are logged and models registered; a server's address
    experiment: str = "vsspark"  # the name that runs are logged under


class LiveConfig(Section):
    """The page on which one points a phone at a garment, `vsspark live`."""

    host: str = "127.0.0.1"  # the address to listen on; 0.0.0.0: every network that the machine is in
    port: Annotated[int, Field(ge=0, le=65535)] = 8000  # 0 = any free one; the log says which
    k: Positive = 12  # products shown
    # A product's page: an address with columns in braces, https://shop.example/{product_id}, of product_id and the
    # catalogue's further columns; null = the catalogue's column link, url, product_url or product_link.
    link: str | None = None
    max_upload_bytes: Positive = 20 * 2**20  # of one picture
    requests: Positive = 8  # pictures held at a time, two of them being answered; more are sent away for a second
    upload_s: Annotated[float, Field(gt=0)] = 30.0  # seconds that a picture may take to arrive
    decode_s: Annotated[float, Field(gt=0)] = 5.0  # seconds that decoding it may take
    poll_s: Annotated[float, Field(gt=0)] = 5.0  # seconds between two looks for a new publish
    thumbnails_mb: Positive = 64  # memory for the products' small pictures


class EvaluationConfig(Section):
    """What `evaluate` compares, and on how much of the catalogue."""

    # A list of sections like `encoder`, one per network and layer; empty = `encoder` alone.
    encoders: tuple[EncoderConfig, ...] = ()
    # What the encoders are compared by, see knn.metric.
    metrics: Annotated[tuple[Literal["cosine", "l2", "l1", "hamming"], ...], Field(min_length=1)] = (
        "cosine",
        "l2",
        "l1",
        "hamming",
    )
    # Images, whole products; one process holds their embeddings: sample * d * 12 bytes.
    sample: Annotated[int, Field(ge=2)] = 20_000
    queries: Positive = 1_000  # images of the sample that search all of it
    k: Positive = 10  # neighbours that precision@k and hubness look at
    sender: Annotated[str, Field(min_length=1)] | None = None  # further catalogue column: who took the picture
    resamples: Positive = 1_000  # of the queries, for the 95 % intervals
    # Queries on the rating sheet, their nearest image by every model rated by people; 0 = no sheet.
    rated_queries: Annotated[int, Field(ge=0)] = 30
    seed: int = 0  # of the sample and its queries
    # Folder on the driver's disk; a run writes below path/RUN_ID.
    path: Annotated[str, Field(min_length=1)] = "build/evaluation"


class Config(Section):
    catalogue: CatalogueConfig = CatalogueConfig()
    demo: DemoConfig = DemoConfig()
    images: ImagesConfig = ImagesConfig()
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    blocking: BlockingConfig = BlockingConfig()
    knn: KnnConfig = KnnConfig()
    recommend: RecommendConfig = RecommendConfig()
    gate: GateConfig = GateConfig()
    output: OutputConfig = OutputConfig()
    report: ReportConfig = ReportConfig()
    live: LiveConfig = LiveConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    mlflow: MlflowConfig = MlflowConfig()
    # Spark properties set when the session is made here.
    spark: dict[str, str | int | float | bool] = Field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        """The whole tree as plain values, secrets masked: what is logged, recorded in `runs` and tracked."""
        return masked(self.model_dump(mode="json"))
