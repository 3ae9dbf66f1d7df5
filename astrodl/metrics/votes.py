"""Metrics of vote fractions for the answers of a decision tree.

Columns are the answers in the order of `VoteTree.columns`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from scipy.stats import betabinom

from astrodl.config import VoteTree

__all__ = ["coverage", "cumulative", "fractions", "nll", "vote_fraction_rmse"]

_Array = NDArray[np.float64]


def _answers(values: ArrayLike, tree: VoteTree) -> _Array:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != len(tree.columns):
        raise ValueError(f"values have shape {array.shape}, must be (N, {len(tree.columns)}), a column per answer")
    return array


def fractions(counts: ArrayLike, tree: VoteTree) -> _Array:
    """Divide votes by the number of votes on their question: (N, A) -> (N, A), NaN where that is zero."""
    votes = _answers(counts, tree)
    fraction = np.empty_like(votes)
    for part in tree.slices.values():
        total = votes[:, part].sum(axis=1, keepdims=True)
        fraction[:, part] = votes[:, part] / np.where(total > 0, total, np.nan)
    return fraction


def cumulative(fraction: ArrayLike, tree: VoteTree) -> _Array:
    """Multiply the fraction of each answer by those of the answers that lead to its question.

    The result is the fraction of all volunteers who reach the question and give the answer, as in the Galaxy Challenge
    (Dieleman, Willett & Dambre 2015, MNRAS 450, 1441, sec. 3).

    Parameters
    ----------
    fraction
        Fractions among the votes on each question, (N, A).
    tree
        The decision tree.

    Returns
    -------
    ndarray
        Products, (N, A); zero below an answer whose fraction is zero, even where fractions are NaN.
    """
    product = _answers(fraction, tree).copy()
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
        Fractions among the votes on each question, (N, A). Answers whose actual cumulative fraction is NaN are left
        out.
    tree
        The decision tree.

    Returns
    -------
    float
        NaN where no answer is left.

    Raises
    ------
    ValueError
        A prediction of an answer that is not left out is not finite, or the arrays have different shapes.
    """
    estimate, truth = cumulative(predicted, tree), cumulative(actual, tree)
    if estimate.shape != truth.shape:
        raise ValueError(
            f"predicted has shape {estimate.shape}, actual {truth.shape}; both must be of the same galaxies"
        )
    known = np.isfinite(truth)
    if not np.isfinite(estimate[known]).all():
        raise ValueError("predicted holds values that are not finite; leave those objects out")
    return float(np.sqrt(np.mean((estimate - truth)[known] ** 2))) if known.any() else float("nan")


def nll(concentration: ArrayLike, counts: ArrayLike, tree: VoteTree) -> float:
    """Compute the mean negative log-likelihood of the votes of a galaxy under Dirichlet-multinomial distributions.

    Parameters
    ----------
    concentration, counts
        Parameters of the distributions and votes for each answer, (N, A).
    tree
        The decision tree.
    """
    alpha, votes = _answers(concentration, tree), _answers(counts, tree)
    total = 0.0
    for part in tree.slices.values():
        a, k = alpha[:, part], votes[:, part]
        n, a0 = k.sum(1), a.sum(1)
        ways = gammaln(n + 1) - gammaln(k + 1).sum(1)
        total += np.mean(gammaln(n + a0) - gammaln(a0) - ways - (gammaln(k + a) - gammaln(a)).sum(1))
    return float(total)


def coverage(concentration: ArrayLike, counts: ArrayLike, tree: VoteTree, level: float) -> float:
    """Compute the fraction of vote counts within the central interval of a probability; NaN without votes.

    The distribution of a count is beta-binomial. A count is inside if the sum of half of its own probability and those
    of all lower counts is between (1 - level) / 2 and (1 + level) / 2. Questions without votes are left out.
    """
    alpha, votes = _answers(concentration, tree), _answers(counts, tree)
    n_inside, n_known = 0, 0
    for part in tree.slices.values():
        a, k = alpha[:, part], votes[:, part]
        n, rest = k.sum(1, keepdims=True), a.sum(1, keepdims=True) - a
        known = np.broadcast_to(n > 0, k.shape)
        middle = betabinom.cdf(k, n, a, rest) - 0.5 * betabinom.pmf(k, n, a, rest)
        n_inside += int(((np.abs(middle - 0.5) <= level / 2) & known).sum())
        n_known += int(known.sum())
    return n_inside / n_known if n_known else float("nan")
