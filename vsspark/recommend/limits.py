"""Which of the gate's limits a run's figures do not keep: plain numbers in, sentences out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from vsspark.config import GateConfig

_Z = 2.33  # one-sided, at the 1 % level: what a sample of this size shows by chance once in a hundred times is allowed
_HELD_OUT = 0.2  # share of the images that head_accuracy is measured on: blocking.holdout where it is not set
_USUAL_HUB = 5.0  # a product in so many times as many lists as the average is no hub, whatever was published
_RECALL_ERROR = 0.01  # of the audit's sample: what gate.min_recall leaves below knn.target_recall unless it is set

Figures = Mapping[str, float]


def broken_limits(
    figures: Figures,
    counts: Mapping[str, int],
    limits: GateConfig,
    target_recall: float | None = None,
) -> Iterator[str]:
    """One sentence per broken limit of a single run: the finding, the key, its limit.

    figures: of `figures.measure_lists`, and head_accuracy and recall_at_k where the run has them.
    """
    if (hubness := figures["hubness"]) > limits.max_hubness:
        finding = f"one product is in {hubness:.1f} times as many lists as the average product"
        yield f"{finding}, gate.max_hubness allows {limits.max_hubness:g}"
    if (share := figures["quarantined_share"]) > limits.max_quarantined:
        yield f"{share:.1%} of the images are quarantined, gate.max_quarantined allows {limits.max_quarantined:.1%}"
    if (products := figures["products_with_recommendations"]) < limits.min_products:
        yield f"{products:.0f} products have recommendations, gate.min_products asks for {limits.min_products}"
    if products and (share := figures["recommended_share"]) < limits.min_recommended:
        finding = f"{share:.1%} of the recommendable products are in any list"
        yield f"{finding}, gate.min_recommended asks for {limits.min_recommended:.1%}"
    yield from _no_better_than_chance(figures, counts, limits)
    least = limits.min_recall
    if least is None and target_recall is not None:
        least = max(0.0, target_recall - _RECALL_ERROR)
    if least is not None and (recall := figures.get("recall_at_k")) is not None and recall < least:
        yield f"the audited recall of the neighbour search is {recall:.4f}, gate.min_recall asks for {least:.4f}"


def broken_comparisons(
    figures: Figures,
    published: Figures,
    counts: Mapping[str, int],
    limits: GateConfig,
    same_model: bool,
) -> Iterator[str]:
    """One sentence per broken limit on the comparison with the published run.

    figures: as in `broken_limits`, and those of `figures.compare_lists`. published: the metrics that the published run
    recorded. same_model: whether one model version made both.
    """
    if (lost_share := figures["products_lost"]) > limits.max_products_lost:
        finding = f"{lost_share:.1%} of the published products have no list any more"
        yield f"{finding}, gate.max_products_lost allows {limits.max_products_lost:.1%}"
    change, key, most = figures.get("changed_share", 0.0), "max_changed", limits.max_changed
    if not same_model:
        key, most = "max_changed_model", max(limits.max_changed, limits.max_changed_model)
    if change > most:
        finding = f"{change:.1%} of the recommendations of known products are others than in the published run"
        yield f"{finding}, gate.{key} allows {most:.1%}"
    if (drift := figures.get("similarity_drift", 0.0)) > limits.max_drift:
        finding = (
            f"{drift:.1%} beyond chance is the distance between the similarities at rank 1 and the published run's"
        )
        yield f"{finding}, gate.max_drift allows {limits.max_drift:.1%}"
    now, before = figures["hubness"], figures["published_hubness"]
    if now > max(_USUAL_HUB, limits.max_hubness_growth * before):
        finding = f"one product is in {now:.1f} times as many lists as the average product, {before:.1f} when published"
        yield f"{finding}, gate.max_hubness_growth allows {limits.max_hubness_growth:g} times that"
    yield from _worse_categories(figures, published, counts, limits)


def _worse_categories(
    figures: Figures,
    published: Figures,
    counts: Mapping[str, int],
    limits: GateConfig,
) -> Iterator[str]:
    """Sentences where rank-1 category agreement or the head is less often right than in the published run."""
    now, before = figures["rank1_same_category"], figures["published_rank1_same_category"]
    sizes = (figures["products_with_recommendations"], figures["published_products"])
    if before - now > limits.max_category_loss + _difference(now, before, *sizes):
        finding = f"the rank-1 product has the category of {now:.1%} of the products, {before:.1%} in the published run"
        yield f"{finding}, gate.max_category_loss allows {limits.max_category_loss:.1%} less"
    if "head_accuracy" not in figures or "head_accuracy" not in published:
        return
    now, before, test_images = figures["head_accuracy"], published["head_accuracy"], _HELD_OUT * counts["embedded"]
    if before - now > limits.max_category_loss + _difference(now, before, test_images, test_images):
        finding = f"the category head is right for {now:.1%} of the images held out, {before:.1%} in the published run"
        yield f"{finding}, gate.max_category_loss allows {limits.max_category_loss:.1%} less"


def _no_better_than_chance(figures: Figures, counts: Mapping[str, int], limits: GateConfig) -> Iterator[str]:
    """Sentences where categories are hardly better than chance.

    A head that is fitted to the labels puts even random vectors into the right blocks: its held-out accuracy tells.
    """
    if "commonest_category" not in figures:
        return
    skill = limits.min_category_skill
    products, share = figures["products_with_recommendations"], figures["rank1_same_category"]
    chance = figures["rank1_same_category_by_chance"]
    least = chance + skill * (1 - chance) - _chance(chance, products)
    if share < least:
        finding = f"the rank-1 product has the category of {share:.1%} of the products, {chance:.1%} would by chance"
        yield f"{finding}, gate.min_category_skill={skill:g} asks for {least:.1%}"
    if (accuracy := figures.get("head_accuracy")) is None:
        return
    chance = figures["commonest_category"]
    least = chance + skill * (1 - chance) - _chance(chance, _HELD_OUT * counts["embedded"])
    if accuracy < least:
        finding = f"the category head is right for {accuracy:.1%} of the images held out"
        by_chance = f"naming the commonest category would be for {chance:.1%}"
        yield f"{finding}, {by_chance}, gate.min_category_skill={skill:g} asks for {least:.1%}"


def _chance(share: float, *sizes: float) -> float:
    """By how much a share, or the difference of two, may be off in samples of these sizes, once in a hundred times."""
    return _Z * math.sqrt(max(0.0, share * (1 - share)) * sum(1 / max(1.0, size) for size in sizes))


def _difference(now: float, before: float, n: float, m: float) -> float:
    """By how much two shares of samples of n and m may differ by chance: the two-proportion test, pooled.

    With the share of one of them alone, 14 of 14 products would leave no room for chance.
    """
    return _chance((now * n + before * m) / max(1.0, n + m), n, m)
