"""Does a run's table keep its promises? Figures first, then a verdict against the limits in `gate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame

from vsspark.config import GateConfig
from vsspark.recommend.figures import compare_lists, full_list, measure_lists
from vsspark.recommend.limits import broken_comparisons, broken_limits

_PROMISES = {
    "repeated": "rows repeat a (product, similar product)",
    "gaps": "products have gaps in their ranks",
    "own": "rows recommend the product itself",
}


@dataclass(frozen=True)
class Verdict:
    """metrics: figure by name; refusals: a sentence per broken limit; broken: one per broken promise.

    The run may be published when both are empty. Limits may be overruled by a person, promises may not.
    """

    metrics: dict[str, float]
    refusals: tuple[str, ...]
    broken: tuple[str, ...]


def judge(
    lists: DataFrame,
    counts: dict[str, int],
    k: int,
    limits: GateConfig,
    published: DataFrame | None = None,
    measured: Mapping[str, float] | None = None,
    published_metrics: Mapping[str, float] | None = None,
    target_recall: float | None = None,
) -> Verdict:
    """The verdict on staged rows of `similar_products`.

    counts: images, embedded, quarantined, products (of the catalogue), usable_products (with an embedded image),
    recommendable_products, explained_short_lists (lists that rules leave shorter than a full one; they count as full),
    placeholders (quarantined, and not counted against gate.max_quarantined).
    A full list has k rows, or one for every other recommendable product where there are fewer.
    published: the rows that readers have now; None where nothing is published yet. Similarities are compared only
    within a model version, lists with a limit of their own across versions, categories and hubs whatever the version.
    measured: what earlier stages of the run measured, of which head_accuracy and recall_at_k are judged.
    published_metrics: `metrics` of the published run. target_recall: knn.target_recall, the limit of recall_at_k where
    gate.min_recall is None.
    """
    metrics, promises = measure_lists(lists, counts, k)
    run_figures = {name: value for name, value in (measured or {}).items() if name in ("head_accuracy", "recall_at_k")}
    refusals = []
    if published is not None:
        comparison, same_model = compare_lists(lists, published)
        metrics |= comparison
        refusals += broken_comparisons(metrics | run_figures, published_metrics or {}, counts, limits, same_model)
    refusals += broken_limits(metrics | run_figures, counts, limits, target_recall)
    if metrics["coverage"] < limits.min_coverage:
        refusals.append(
            f"{metrics['coverage']:.1%} of the products with a usable image have a full list of {full_list(counts, k)},"
            f" gate.min_coverage asks for {limits.min_coverage:.1%}"
        )
    broken = [f"{promises[name]} {what}" for name, what in _PROMISES.items() if promises[name]]
    images, embedded, quarantined = (counts[name] for name in ("images", "embedded", "quarantined"))
    if embedded + quarantined != images:
        broken.insert(
            0,
            f"images are lost: {images} in, {embedded} embedded + {quarantined} quarantined",
        )
    if not metrics["products_with_recommendations"]:
        broken.append("no product has any recommendation")
    return Verdict(metrics, tuple(refusals), tuple(broken))
