"""The losses that encoders are trained with."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf


def pair_loss(embedding, label, weight, temperature: float, hard: tuple | None = None):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, eq. 2): the rows of a label against all
    others in the batch.

    embedding: (n, e) of unit norm; label: (n,); weight: (n,) of each row in the mean; None = 1 for each row whose
    label another row has, 0 for the others. hard: (category (n,),
    -1 = none; times): a row of another label and the same category counts so many times, as hard negatives do in
    Robinson et al. 2021 (arXiv:2010.04592).
    """
    itself = tf.eye(tf.shape(label)[0])
    same = tf.cast(label[:, None] == label[None, :], tf.float32) - itself
    logits = tf.matmul(embedding, embedding, transpose_b=True) / temperature - 1e9 * itself
    negatives = logits
    if hard is not None:
        category, times = hard
        akin = (category[:, None] == category[None, :]) & (category[:, None] >= 0) & (label[:, None] != label[None, :])
        negatives += tf.cast(akin, tf.float32) * math.log(times)
    log_share = logits - tf.reduce_logsumexp(negatives, 1, keepdims=True)
    pairs = tf.reduce_sum(same, 1)
    if weight is None:
        weight = tf.cast(pairs > 0, tf.float32)
    per_row = -tf.reduce_sum(same * log_share, 1) / tf.maximum(pairs, 1.0)
    return tf.reduce_sum(per_row * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)


def category_loss(probabilities, category, class_weights, smoothing: float):
    """Cross-entropy of smoothed labels (Szegedy et al. 2016, arXiv:1512.00567), rare classes weighted up; rows
    without a category count nothing.
    """
    has_category = tf.cast(category >= 0, tf.float32)
    index = tf.maximum(category, 0)
    classes = tf.shape(probabilities)[1]
    target = (1 - smoothing) * tf.one_hot(index, classes) + smoothing / tf.cast(classes, tf.float32)
    per_row = (
        -tf.reduce_sum(target * tf.math.log(tf.maximum(probabilities, 1e-7)), 1)
        * tf.gather(class_weights, index)
        * has_category
    )
    return tf.reduce_sum(per_row) / tf.maximum(tf.reduce_sum(has_category), 1.0)


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """(c,) float32: rare categories count more, by the root of how rare they are; 1 on average over the pictures.

    counts: (c,) pictures per category.
    """
    counts = np.maximum(counts, 1)
    weights = 1 / np.sqrt(counts)
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
