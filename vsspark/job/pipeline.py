"""What each job does, from its arguments to its last line; the stages themselves are beside it."""

from __future__ import annotations

import argparse
import logging

from pyspark.sql import SparkSession

from vsspark.config import Config
from vsspark.errors import DataQualityError, StorageError, VssparkError
from vsspark.evaluation.evaluate import compare_encoders, judge_models
from vsspark.evaluation.files import to_markdown
from vsspark.job.check import check_stage, nothing_changed
from vsspark.job.embed import embed_stage
from vsspark.job.ingest import ingest_stage
from vsspark.job.neighbours import neighbours_stage
from vsspark.job.publish import check_followers, finish, finish_owed, publish_stage
from vsspark.job.run import Run
from vsspark.query.answers import to_json, to_text
from vsspark.query.ask import answer_images
from vsspark.report.build import write_report
from vsspark.spark import session
from vsspark.storage.store import Store

log = logging.getLogger("vsspark")


def recommend(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """All stages, the gate, one publish, the report; where nothing has changed since the published run, only what that
    run still owes."""
    with Run(spark, config, args.run_id, args.run_date, args.force) as run:
        try:
            check_followers(run)
            late = finish_owed(run)
            ingest_stage(run)
            checked = check_stage(run)
            if run.published is not None and args.force is None and nothing_changed(run, run.published["run_id"]):
                run.restore_published()  # a run that was killed may have changed the tables beside it
                if late is not None:
                    raise late
                return
            embed_stage(run, checked)
            neighbours_stage(run)
            publish_stage(run)
        except BaseException as error:
            _restore(run, error)
            raise
        finish(run)


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


def ingest(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    with Run(spark, config, args.run_id, args.run_date) as run:
        ingest_stage(run)


def embed(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    with Run(spark, config, args.run_id, args.run_date) as run:
        embed_stage(run)


def neighbours(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    with Run(spark, config, args.run_id, args.run_date) as run:
        neighbours_stage(run)


def publish(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    with Run(spark, config, args.run_id, args.run_date, args.force) as run:
        check_followers(run)
        finish_owed(run)
        publish_stage(run)
        finish(run)


def rollback(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Makes an earlier published run current again: `--to RUN_ID`, or the one before the current."""
    with Run(spark, config, args.run_id, args.run_date) as run:
        published, current = run.store.published_runs("similar_products"), run.store.current_run("similar_products")
        target = args.to or next(
            iter(published[published.index(current) + 1 :] if current in published else published), None
        )
        if target is None:
            raise StorageError(
                f"there is no run published before {current} below output.path={run.store.root}; "
                f"it has {', '.join(published) or 'none'}"
            )
        with run.progress.stage("rollback", f"from {current} to {target}"):
            versions = run.store.restore("similar_products", target)
        row = run.store.run_row(target)
        if row is not None and versions:
            run.store.write_run_row(row | {"versions": {**(row["versions"] or {}), **versions}})
        run.put_back(target)
        run.status, run.message = "rolled_back", f"{target} is current again"


def report(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Draws the report of the run that is published now once more, and prints where it is."""
    store = Store(spark, config.output)
    print(write_report(spark, store, store.published_run(), config, session.storage_options(spark)))


def evaluate(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Compares encoders on a sample of the catalogue, or reads a rating sheet back: `--ratings FILE [FILE ...]`."""
    if args.ratings:
        print(judge_models(args.ratings, config), end="")
        return
    results, folder = compare_encoders(spark, config, args.run_id)
    print(f"{to_markdown(results)}\n{folder}")


def query(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Print products similar to the given pictures, from the published run; exit code 2 if no picture can be used."""
    run_id, answers = answer_images(spark, config, args.images, args.k)
    print(to_json(run_id, answers) if args.json else to_text(answers))
    if all(answer.reason is not None for answer in answers):
        raise DataQualityError(
            f"none of the {len(answers)} pictures could be used, the first is {answers[0].reason}: {answers[0].detail}"
        )


def train(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Fits an encoder to the catalogue and registers it in MLflow."""
    from vsspark.training.train import train_encoder  # Petastorm is there only where training happens

    train_encoder(spark, config, args)


def force_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        metavar="WHY",
        default=None,
        help="publish even if the gate refuses or nothing has changed; who and why goes on record",
    )


def rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        metavar="RUN_ID",
        default=None,
        help="the published run to go back to (default: the one published before the current)",
    )


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ratings",
        metavar="FILE",
        nargs="+",
        default=None,
        help="filled-in rating sheets, one CSV per rater: prints each model's mean rating",
    )


def query_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a picture: a local path or s3a://bucket/key")
    parser.add_argument("--k", type=_positive, default=10, help="products per picture (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected at least 1")
    return number


JOBS = {
    job.__name__: job
    for job in (recommend, ingest, embed, neighbours, publish, rollback, report, evaluate, query, train)
}
ARGUMENTS = {
    "recommend": force_arguments,
    "publish": force_arguments,
    "rollback": rollback_arguments,
    "evaluate": evaluate_arguments,
    "query": query_arguments,
}
