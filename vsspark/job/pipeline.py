"""The main job and its parts: which stages run, and what becomes of the run.

Stages are functions of tables and settings. Only this page and `Run` decide what is published, restored and recorded:

| `runs.status` | when | the table | the tables beside it |
|---|---|---|---|
| published | the commit of `similar_products` is made | this run's | this run's |
| unchanged | the published run was made from the same inputs | as before | restored to the published run's |
| refused | the gate found a limit not kept | as before | restored |
| failed | anything else ended the run before its commit | as before | restored |
| staged | a single stage ran (jobs/ingest.py and the like) | as before | as the stage left them |
| rolled_back | jobs/rollback.py | the earlier run's | restored to that run's |
| publishing | killed at the commit: `similar_products` says whether it was made; the next call records it | | |

`embeddings` is never restored: it only grows, and a row in it is right whatever becomes of the run that wrote it.
"""

from __future__ import annotations

import argparse
import logging

from pyspark.sql import SparkSession

from vsspark.catalogue.preview import preview
from vsspark.config import CatalogueConfig, Config
from vsspark.demo.spark import demo_catalogue
from vsspark.errors import ConfigError, GateRefused, VssparkError
from vsspark.job.categories import categories_stage
from vsspark.job.check import check_stage, inputs_digest, undelivered
from vsspark.job.dry_run import dry_run
from vsspark.job.eligible import rules_of
from vsspark.job.embed import embed_stage
from vsspark.job.followers import check_followers, followers
from vsspark.job.gate import GateResult, gate_stage, published_before
from vsspark.job.ingest import ingest_stage, named_rows, write_images, write_rejected
from vsspark.job.model import load_model
from vsspark.job.neighbours import neighbours_stage
from vsspark.job.products import products_stage
from vsspark.job.rollback import rollback as rollback
from vsspark.job.run import Run
from vsspark.job.written import record_rules, with_rules, written_rules
from vsspark.knn.memory import check_memory
from vsspark.recommend.lists import in_product_ranges
from vsspark.recommend.terms import ProductRules
from vsspark.schemas import SIMILAR_PRODUCTS
from vsspark.spark import session
from vsspark.tracking import log_run

log = logging.getLogger("vsspark")


def recommend(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """All stages, the gate, one publish, the report; where nothing has changed since the published run, only what that
    run still owes; with `--dry-run` only says what the written rules would do."""
    config = with_rules(config, args)
    if args.dry_run:
        dry_run(spark, config, args.run_id, args.run_date, print)
        return
    with Run(spark, config, args.run_id, args.run_date, args.force) as run:
        try:
            check_followers(spark, config, run.run_id)
            late = run.finish_owed()
            images = _ingest(run)
            if not _embed(run, images):
                run.restore_published()  # a run that was killed may have changed the tables beside it
                if late is not None:
                    raise late
                return
            _search(run)
            _publish(run)
        except BaseException as error:
            _restore(run, error)
            raise
        run.finish()


def ingest(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Writes `images`; with `--check` prints what the catalogue is understood as, and writes nothing."""
    if args.check:
        if config.catalogue.table is None:
            raise ConfigError("--check: expected catalogue.table, the demo catalogue needs no check")
        preview(spark, config.catalogue, print)
        return
    with Run(spark, config, args.run_id, args.run_date) as run:
        write_images(run.tables, _ingest(run))


def embed(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    with Run(spark, config, args.run_id, args.run_date) as run:
        _embed(run, named_rows(run.tables), always=True)


def neighbours(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    with Run(spark, config, args.run_id, args.run_date) as run:
        _search(run)


def publish(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    config = with_rules(config, args)
    with Run(spark, config, args.run_id, args.run_date, args.force) as run:
        check_followers(spark, config, run.run_id)
        run.finish_owed()
        _publish(run)
        run.finish()


def _ingest(run: Run):
    """CATALOGUE_COLUMNS of the images that the catalogue names."""
    catalogue = run.config.catalogue
    if catalogue.table is None:
        catalogue = _demo(run)
    recommend = run.config.recommend
    result = run.do("ingest", f"reading {catalogue.table}", ingest_stage, run.tables, catalogue, recommend)
    run.written = written_rules(run.tables, result.images, recommend, run.run_date)
    write_rejected(run.tables, result.rejected, result.counts.get("rejected_rows", 0))
    return result.images


def _demo(run: Run) -> CatalogueConfig:
    demo = run.config.demo
    with run.progress.stage("demo", f"drawing the demo catalogue of {demo.products:,} products below {demo.path}"):
        return demo_catalogue(run.spark, demo, session.storage_options(run.spark))


def _embed(run: Run, images, always: bool = False) -> bool:
    """Writes `embeddings`, `quarantine` and `images`; False where nothing has changed since the published run, which
    then keeps its tables. always: embed all the same."""
    config, tables = run.config, run.tables
    with run.progress.stage("encoder", f"loading {config.encoder.name}"):
        model = load_model(run.spark, config)
    settings = session.executor_settings(run.spark)
    log.info("memory     %s", check_memory(settings, config.knn, model.encoder.dim))
    check = run.do(
        "check", "sizes and times of the files", check_stage, tables, images, config.catalogue, config.images
    )
    run.inputs = inputs_digest(images, check.files, model.version, config, run.written or ())
    if not always and _unchanged(run):
        return False
    sections = (config.images, config.encoder)
    embedded = run.do("embed", f"with {model.version}", embed_stage, tables, images, check, model, sections)
    what = "predicting categories"
    result = run.do("categories", what, categories_stage, tables, images, embedded, model, config.blocking)
    run.model_version, run.embedded_by = result.model_version, run.run_id
    return True


def _unchanged(run: Run) -> bool:
    """Whether the published run was made from the same inputs, and met no image worth another try."""
    published = run.published
    if published is None or run.force is not None or published["inputs"] != run.inputs:
        return False
    if undelivered(run.tables, published["run_id"]):
        return False
    run.status = "unchanged"
    run.message = f"nothing has changed since run {published['run_id']}, which stays published"
    log.info("unchanged  %s; --force WHY publishes all the same", run.message)
    return True


def _rules(run: Run) -> ProductRules | None:
    """The rules on pairs and lists, those of the file among them."""
    recommend = run.config.recommend
    if run.written is None:
        run.written = written_rules(run.tables, run.tables.read("images"), recommend, run.run_date)
    return rules_of(run.tables, recommend, run.config.catalogue, run.written)


def _search(run: Run) -> None:
    """Writes `neighbours`."""
    config = run.config
    # Fewer neighbours than recommendations would leave every product of one image short, and send it through the
    # whole catalogue.
    rules = _rules(run)
    depth = config.recommend.k if rules is None else rules.depth
    knn = config.knn.model_copy(update={"k": max(config.knn.k, depth)})
    what = f"{knn.k} nearest products per image, {knn.metric}, {knn.mode}"
    run.model_version = run.do(
        "neighbours", what, neighbours_stage, run.tables, knn, config.blocking, config.recommend
    ).model_version


def _publish(run: Run) -> None:
    """`neighbours` -> product lists -> the gate -> `similar_products`, in one commit."""
    config, tables, store = run.config, run.tables, run.store
    what = f"merging images into {config.recommend.k} similar products each"
    recommend, rules = config.recommend, _rules(run)
    record_rules(tables, run.written)
    products = run.do("products", what, products_stage, tables, recommend, rules, config.knn, run.run_date)
    run.model_version = products.model_version
    before = published_before(tables, run.published)
    measured = (run.metrics, before)
    gate = run.do("gate", "judging the run", gate_stage, tables, products.rows, config, run.embedding_run(), measured)
    _decide(run, gate)
    with run.progress.stage("publish", f"one commit to {store.path('similar_products')}"):
        versions = {table: version for table, version in store.versions().items() if table != "similar_products"}
        run.owed = followers(config)
        run.status, run.versions = "publishing", versions
        if store.current_run("similar_products") != run.run_id:
            run.record()  # a reader who sees the commit finds the versions of the other tables beside it
        # A run of this name that is published already keeps its row, and with it its own versions, until the commit.
        rows = in_product_ranges(products.rows, products.counts["recommendations"])
        run.versions = store.publish("similar_products", rows, SIMILAR_PRODUCTS, run.run_id, versions)
        run.status = "published"
    run.record()  # what follows may still be killed
    with run.progress.stage("vacuum", f"files older than {config.output.keep_days} days"):
        try:
            store.vacuum()
        except Exception:
            log.exception("vacuum     failed: the next publish does it")


def _decide(run: Run, gate: GateResult) -> None:
    """Raises GateRefused unless the verdict lets the run through, or a person overrules its limits."""
    verdict = gate.verdict
    refusals = (*verdict.broken, *verdict.refusals)
    if not refusals:
        return
    if run.force is not None and not verdict.broken:
        run.forced_by = f"{run.spark.sparkContext.sparkUser()}: {run.force}"
        run.message = f"published in spite of: {'; '.join(refusals)}"
        log.warning("gate       forced by %s; it had refused: %s", run.forced_by, "; ".join(refusals))
        return
    run.status = "refused"
    run.message = f"the gate refused run {run.run_id}, nothing was published: {'; '.join(refusals)}"
    try:
        log_run(run.config, run.row(), None)
    except VssparkError as error:
        log.warning("tracking   %s", error)  # the refusal is what the scheduler must hear of
    raise GateRefused(run.message)


def _restore(run: Run, error: BaseException) -> None:
    """Restores the tables beside `similar_products` to the published run. A failure is logged, never raised: the error
    that ended the run is the one to report."""
    if not isinstance(error, Exception):
        session.reconnect(run.spark)
    run.settle()
    if run.status in ("publishing", "published"):
        return
    if run.lock.lost():
        log.warning("run        %s has lost the output: its tables are left to the run that has taken over", run.run_id)
        return
    try:
        run.store.abandon(interrupted=not isinstance(error, VssparkError))
        run.restore_published()
    except Exception:
        log.exception("run        %s: the tables beside similar_products could not be restored", run.run_id)
