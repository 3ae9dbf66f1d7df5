"""Metrics of the fractions of votes for the answers of a decision tree.

Columns are the answers in the order of the tree, `VoteTree.columns`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.config import VoteTree

Array = NDArray[np.float64]


def _answers(values: ArrayLike, tree: VoteTree) -> Array:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != len(tree.columns):
        raise ValueError(f"values have shape {array.shape}, must be (N, {len(tree.columns)}), a column per answer")
    return array


def fractions(counts: ArrayLike, tree: VoteTree) -> Array:
    """Divide votes by the votes on their question: (N, A) -> (N, A), NaN where nobody voted on it."""
    votes = _answers(counts, tree)
    share = np.empty_like(votes)
    for part in tree.slices.values():
        total = votes[:, part].sum(axis=1, keepdims=True)
        share[:, part] = votes[:, part] / np.where(total > 0, total, np.nan)
    return share


def cumulative(share: ArrayLike, tree: VoteTree) -> Array:
    """Multiply the fraction of each answer by those of the answers that lead to its question.

    It is the fraction of all volunteers who come to the question and give the answer, as in the Galaxy Challenge
    (Dieleman, Willett & Dambre 2015, MNRAS 450, 1441, sec. 3).

    Parameters
    ----------
    share
        Fractions among the votes on each question, (N, A).
    tree
        The decision tree.

    Returns
    -------
    ndarray
        (N, A); zero where no path leads to the question, NaN where one does and the fraction is NaN.
    """
    product = _answers(share, tree).copy()
    for name, part in tree.slices.items():
        parent = tree.parents[name]
        if parent is not None:
            reach = product[:, parent, None]
            product[:, part] = np.where(reach == 0, 0, product[:, part] * reach)
    return product


def vote_fraction_rmse(predicted: ArrayLike, actual: ArrayLike, tree: VoteTree) -> float:
    """Compute the root mean square error of the cumulative fractions over all galaxies and answers.

    The score of the Galaxy Challenge (Dieleman, Willett & Dambre 2015, MNRAS 450, 1441, eq. 1).

    Parameters
    ----------
    predicted, actual
        Fractions among the votes on each question, (N, A). Where the actual cumulative fraction is NaN, an answer is
        left out.
    tree
        The decision tree.

    Returns
    -------
    float
        NaN where nothing is left.

    Raises
    ------
    ValueError
        A prediction that counts is not finite, or arrays that do not fit together.
    """
    ours, truth = cumulative(predicted, tree), cumulative(actual, tree)
    if ours.shape != truth.shape:
        raise ValueError(f"predicted has shape {ours.shape}, actual {truth.shape}; they must be of the same galaxies")
    known = np.isfinite(truth)
    if not np.isfinite(ours[known]).all():
        raise ValueError("predicted holds values that are not finite; leave those objects out")
    return float(np.sqrt(np.mean((ours - truth)[known] ** 2))) if known.any() else float("nan")


def nll(concentration: ArrayLike, counts: ArrayLike, tree: VoteTree) -> float:
    """Compute the mean negative log-likelihood of the votes of a galaxy under Dirichlet-multinomial distributions.

    Parameters
    ----------
    concentration, counts
        Parameters of the distributions and votes for each answer, (N, A).
    tree
        The decision tree.
    """
    from scipy.special import gammaln

    alpha, votes = _answers(concentration, tree), _answers(counts, tree)
    total = 0.0
    for part in tree.slices.values():
        a, k = alpha[:, part], votes[:, part]
        n, a0 = k.sum(1), a.sum(1)
        ways = gammaln(n + 1) - gammaln(k + 1).sum(1)
        total += np.mean(gammaln(n + a0) - gammaln(a0) - ways - (gammaln(k + a) - gammaln(a)).sum(1))
    return float(total)


def coverage(concentration: ArrayLike, counts: ArrayLike, tree: VoteTree, share: float) -> float:
    """Compute the fraction of vote counts within the central interval that holds `share` of the probability.

    Each count is beta-binomial; it lies within where half of its own probability and that of all lower counts is
    between (1 - share) / 2 and (1 + share) / 2. Questions that a galaxy was not asked do not count.
    """
    from scipy.stats import betabinom

    alpha, votes = _answers(concentration, tree), _answers(counts, tree)
    inside, asked = 0, 0
    for part in tree.slices.values():
        a, k = alpha[:, part], votes[:, part]
        n, rest = k.sum(1, keepdims=True), a.sum(1, keepdims=True) - a
        known = np.broadcast_to(n > 0, k.shape)
        middle = betabinom.cdf(k, n, a, rest) - 0.5 * betabinom.pmf(k, n, a, rest)
        inside += int(((np.abs(middle - 0.5) <= share / 2) & known).sum())
        asked += int(known.sum())
    return inside / asked if asked else float("nan")
