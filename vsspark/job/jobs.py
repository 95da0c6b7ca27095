"""Every job by name, with the arguments of its own; those of the main job are in `pipeline`.

What a job works with is imported when it works: `--help` waits for nothing, and a query starts without Spark.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vsspark.config import Config
from vsspark.config.store_settings import storage_options
from vsspark.errors import ConfigError, DataQualityError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def _stage(name: str) -> Callable[[SparkSession, Config, argparse.Namespace], None]:
    """The function of that name in `pipeline`."""

    def work(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
        from vsspark.job import pipeline

        getattr(pipeline, name)(spark, config, args)

    return work


def report(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Draws the report of the run that is published now once more, and prints where it is."""
    from vsspark.report.build import write_report
    from vsspark.spark import session
    from vsspark.storage.store import Store

    store = Store(spark, config.output)
    print(write_report(spark, store, store.published_run(), config, session.storage_options(spark)))


def evaluate(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Compares encoders on a sample of the catalogue, or reads a rating sheet back: `--ratings FILE [FILE ...]`."""
    from vsspark.evaluation.evaluate import compare_encoders, judge_models
    from vsspark.evaluation.files import to_markdown

    if args.ratings:
        print(judge_models(args.ratings, config), end="")
        return
    results, folder = compare_encoders(spark, config, args.run_id)
    print(f"{to_markdown(results)}\n{folder}")


def query(config: Config, args: argparse.Namespace) -> None:
    """Prints products similar to the given pictures, from the published run; exit code 2 if no picture can be used."""
    from vsspark.query.answers import to_json, to_text
    from vsspark.query.ask import answer_images

    run_id, answers = answer_images(config, store_settings(config), args.images, args.k)
    print(to_json(run_id, answers) if args.json else to_text(answers))
    if all(answer.reason is not None for answer in answers):
        first = answers[0]
        raise DataQualityError(
            f"none of the {len(answers)} pictures could be used, the first is {first.reason}: {first.detail}"
        )


def explain(config: Config, args: argparse.Namespace) -> None:
    """Prints why a product is on another one's page, or is not."""
    from vsspark.query.explain import explain as trace

    run_id, found = trace(config, store_settings(config), args.product, args.other, args.surface)
    print(f"{found.answer}: {found.detail} (run {run_id})")


def export(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Writes the published lists as files for another system, and prints the manifest."""
    from vsspark.job.export import Target, export_lists
    from vsspark.job.export_formats import check_name
    from vsspark.spark import session
    from vsspark.storage.store import Store

    folder = args.to if "://" in args.to else os.path.abspath(args.to)
    target = Target(folder.rstrip("/"), args.format, check_name(args.format, args.name))
    manifest = export_lists(Store(spark, config.output), target, session.storage_options(spark), args.whole)
    print(json.dumps(manifest, indent=1))


def live(config: Config, args: argparse.Namespace) -> None:
    """Serves the page on which one points a phone at a garment, until it is told to end."""
    from vsspark.live.serve import serve

    given = {name: value for name in ("host", "port") if (value := getattr(args, name)) is not None}
    serve(config.model_copy(update={"live": config.live.model_copy(update=given)}), store_settings(config))


def store_settings(config: Config) -> dict[str, str]:
    """Settings of object storage for a job without Spark: spark-submit's and the config's. Holds secrets."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return storage_options(config.spark)
    from vsspark.spark import jvm

    return storage_options(config.spark, jvm.submitted_settings())


def init(config: Config, args: argparse.Namespace) -> None:
    """Writes a first configuration for a feed, and says what was guessed."""
    from vsspark.job.init import write_config

    write_config(config, args, print)


def doctor(config: Config, args: argparse.Namespace) -> None:
    """Prints a line per check; exit code 2 where something would keep a run from working."""
    from vsspark.job.doctor import examine

    unfit = []
    for name, said, fit in examine(config):
        print(f"{'ok  ' if fit else 'FAIL'}  {name:9}  {said}", flush=True)
        unfit += [] if fit else [name]
    if unfit:
        raise ConfigError(f"not fit for a run: {', '.join(unfit)}; the lines above say what to do")


def train(spark: SparkSession, config: Config, args: argparse.Namespace) -> None:
    """Fits an encoder to the catalogue and registers it in MLflow."""
    from vsspark.training.train import train_encoder  # Petastorm is there only where training happens

    train_encoder(spark, config, args)


def _feed(parser: argparse.ArgumentParser) -> None:
    about = "the shop's table: anything that catalogue.table may be; --set catalogue.KEY=VALUE helps to read it"
    parser.add_argument("feed", metavar="FEED", help=about)
    parser.add_argument("--output", metavar="FILE", default="conf.yaml", help="the file to write (default: conf.yaml)")
    parser.add_argument("--images", metavar="FOLDER", default=None, help="what image names are relative to")
    parser.add_argument("--force", action="store_true", help="overwrite the file where it exists")


def _force(parser: argparse.ArgumentParser) -> None:
    about = "publish even if the gate refuses or nothing has changed; who and why goes on record"
    parser.add_argument("--force", metavar="WHY", default=None, help=about)


def _rules(parser: argparse.ArgumentParser) -> None:
    _force(parser)
    parser.add_argument("--rules", metavar="FILE", default=None, help="written rules: recommend.rules")
    about = "leave out written rules that cannot hold, with a warning: recommend.lenient"
    parser.add_argument("--lenient", action="store_true", help=about)


def _nightly(parser: argparse.ArgumentParser) -> None:
    _rules(parser)
    about = "say what each written rule would do to the lists of the last search; publish nothing"
    parser.add_argument("--dry-run", action="store_true", help=about)


def _check(parser: argparse.ArgumentParser) -> None:
    about = "print what the catalogue is understood as: columns, guesses, rows, what would be rejected; write nothing"
    parser.add_argument("--check", action="store_true", help=about)


def _target(parser: argparse.ArgumentParser) -> None:
    about = "the published run to go back to (default: the one published before the current)"
    parser.add_argument("--to", metavar="RUN_ID", default=None, help=about)


def _ratings(parser: argparse.ArgumentParser) -> None:
    about = "filled-in rating sheets, one CSV per rater: prints each model's mean rating"
    parser.add_argument("--ratings", metavar="FILE", nargs="+", default=None, help=about)


def _pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a picture: a local path or s3a://bucket/key")
    parser.add_argument("--k", type=_positive, default=10, help="products per picture (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FOLDER", required=True, help="where exports are kept: a folder or s3a://...")
    parser.add_argument("--format", choices=("jsonl", "elasticsearch", "postgres"), default="jsonl")
    parser.add_argument("--name", default="similar_products", help="of the index or table (default: similar_products)")
    parser.add_argument("--whole", action="store_true", help="write all lists, not what differs from the last export")


def _pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("product", metavar="PRODUCT", help="the product on whose page the list is shown")
    parser.add_argument("other", metavar="OTHER", help="the product that is asked about")
    parser.add_argument("--surface", default="similar", help="the list (default: similar)")


def _address(parser: argparse.ArgumentParser) -> None:
    about = "address to listen on (default: live.host, 127.0.0.1: this machine alone); 0.0.0.0 is every network"
    parser.add_argument("--host", default=None, help=about)
    parser.add_argument("--port", type=_port, default=None, help="default: live.port, 8000; 0: any free one")


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"got {number}, expected 0 to 65535")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected at least 1")
    return number


class Job(NamedTuple):
    """about: what the job does, in one line for `--help`. starts_spark: `work` is given a session before the config."""

    about: str
    work: Callable[..., None]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    starts_spark: bool = True


JOBS = {
    "init": Job("write a first configuration for a feed, its columns guessed", init, _feed, starts_spark=False),
    "doctor": Job("look at Java, Spark, stores, encoder and tracking before a run does", doctor, starts_spark=False),
    "recommend": Job(
        "read the catalogue, embed, search, judge and publish: the nightly job", _stage("recommend"), _nightly
    ),
    "ingest": Job("read the catalogue alone; --check shows what is understood", _stage("ingest"), _check),
    "embed": Job("embed the images of the last ingest", _stage("embed")),
    "neighbours": Job("search the neighbours of the embedded images", _stage("neighbours")),
    "publish": Job("merge, judge and publish what has been searched", _stage("publish"), _rules),
    "rollback": Job("make an earlier published run current again", _stage("rollback"), _target),
    "report": Job("draw the report of the published run once more", report),
    "evaluate": Job("compare encoders on a sample of the catalogue", evaluate, _ratings),
    "explain": Job("say why a product is on another one's page, or is not", explain, _pair, starts_spark=False),
    "export": Job("write the published lists for Elasticsearch, PostgreSQL or as JSON lines", export, _export),
    "query": Job("print products similar to given pictures", query, _pictures, starts_spark=False),
    "live": Job("serve a page: take a picture, get similar products", live, _address, starts_spark=False),
    "train": Job("fit an encoder to the shop's pictures and register it in MLflow", train),
}
