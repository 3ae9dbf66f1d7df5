from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from astrodl.config import VoteTree, parse, read_tree
from astrodl.errors import ConfigError
from astrodl.metrics import votes

TREES = Path(__file__).resolve().parents[2] / "config" / "trees"
YES_NO = ["yes", "no"]
TREE = parse(
    VoteTree,
    {
        "questions": [
            {"name": "disk", "answers": YES_NO},
            {"name": "bar", "answers": ["strong", "weak", "no"], "after": "disk.yes"},
            {"name": "ring", "answers": YES_NO, "after": "bar.strong"},
        ]
    },
)


def test_columns_slices_and_parents_follow_the_tree() -> None:
    assert TREE.columns == ("disk_yes", "disk_no", "bar_strong", "bar_weak", "bar_no", "ring_yes", "ring_no")
    assert TREE.slices == {"disk": slice(0, 2), "bar": slice(2, 5), "ring": slice(5, 7)}
    assert TREE.parents == {"disk": None, "bar": 0, "ring": 2}


def test_galaxy_zoo_2_has_11_questions_and_37_answers() -> None:
    tree = read_tree(TREES / "galaxy_zoo_2.yaml")
    assert (len(tree.questions), len(tree.columns)) == (11, 37)
    assert tree.columns[tree.parents["spiral-winding"] or 0] == "has-spiral-arms_yes"


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "questions"),
        ([{"name": "a", "answers": ["x"]}], r"answers"),
        ([{"name": "a", "answers": [True, False]}], r"questions.0.answers.0 = True: must be a valid string"),
        ([{"name": "a.b", "answers": YES_NO}], r"questions.0.name"),
        ([{"name": "a", "answers": YES_NO}, {"name": "a", "answers": ["x", "y"]}], "'a' occurs twice.*rename"),
        ([{"name": "a", "answers": ["x", "x"]}], "'a_x' belongs to two answers"),
        ([{"name": "a", "answers": ["b_c", "x"]}, {"name": "a_b", "answers": ["c", "y"]}], "'a_b_c' belongs to two"),
        ([{"name": "a", "answers": YES_NO, "after": "a.yes"}], r"must be an answer to a question above it \(none\)"),
        (
            [{"name": "a", "answers": YES_NO, "after": "b.no"}, {"name": "b", "answers": YES_NO}],
            r"is after 'b.no', must be an answer to a question above it \(none\); name one, or move the question down",
        ),
        (
            [{"name": "a", "answers": YES_NO}, {"name": "b", "answers": YES_NO, "after": "a.maybe"}],
            r"'a.maybe', must be .* \(a.yes, a.no\)",
        ),
    ],
)
def test_an_invalid_tree_raises_one_line(questions: list[dict], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(VoteTree, {"questions": questions}, "tree.yaml")
    assert str(caught.value).startswith("tree.yaml: ")
    assert "\n" not in str(caught.value)


def test_fractions_and_their_products_down_the_tree() -> None:
    counts = [[8, 2, 4, 0, 4, 3, 1], [0, 10, 0, 0, 0, 0, 0], [5, 5, 0, 5, 0, 0, 0]]
    share = votes.fractions(counts, TREE)
    assert share[0] == pytest.approx([0.8, 0.2, 0.5, 0, 0.5, 0.75, 0.25])
    assert np.isnan(share[1, 2:]).all()
    product = votes.cumulative(share, TREE)
    assert product[0] == pytest.approx([0.8, 0.2, 0.4, 0, 0.4, 0.3, 0.1])
    assert product[1] == pytest.approx([0, 1, 0, 0, 0, 0, 0])
    assert product[2] == pytest.approx([0.5, 0.5, 0, 0.5, 0, 0, 0])


def test_cumulative_fractions_of_consistent_votes_are_the_counts_over_all_volunteers() -> None:
    random = np.random.default_rng(0)
    disk = random.multinomial(1000, [0.7, 0.3], 50)
    bar = random.multinomial(disk[:, 0], [0.3, 0.2, 0.5])
    counts = np.concatenate([disk, bar, random.multinomial(bar[:, 0], [0.4, 0.6])], axis=1)
    assert votes.cumulative(votes.fractions(counts, TREE), TREE) == pytest.approx(counts / 1000)


def test_rmse_is_its_definition_and_zero_for_the_votes_themselves() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(1, 20, (30, 7))
    actual, predicted = votes.fractions(counts, TREE), votes.fractions(random.integers(1, 20, (30, 7)), TREE)
    assert votes.vote_fraction_rmse(actual, actual, TREE) == 0
    total = 0.0
    for p, a in zip(predicted, actual, strict=True):
        reach = [1, 1, *[(p[0], a[0])] * 3, *[(p[0] * p[2], a[0] * a[2])] * 2]
        pairs = [r if isinstance(r, tuple) else (1, 1) for r in reach]
        total += sum((x * p[k] - y * a[k]) ** 2 for k, (x, y) in enumerate(pairs))
    assert votes.vote_fraction_rmse(predicted, actual, TREE) == pytest.approx(np.sqrt(total / 210))


def test_a_galaxy_without_votes_is_left_out() -> None:
    random = np.random.default_rng(1)
    counts = random.integers(1, 20, (30, 7))
    actual, predicted = votes.fractions(counts, TREE), votes.fractions(random.integers(1, 20, (30, 7)), TREE)
    whole = votes.vote_fraction_rmse(predicted, actual, TREE)
    more = np.vstack([actual, np.full(7, np.nan)]), np.vstack([predicted, predicted[:1]])
    assert votes.vote_fraction_rmse(more[1], more[0], TREE) == pytest.approx(whole)
    assert np.isnan(votes.vote_fraction_rmse(predicted, np.full((30, 7), np.nan), TREE))


def test_arrays_that_do_not_fit_the_tree_raise() -> None:
    with pytest.raises(ValueError, match=r"must be \(N, 7\)"):
        votes.fractions(np.ones((3, 6)), TREE)
    with pytest.raises(ValueError, match="same galaxies"):
        votes.vote_fraction_rmse(np.ones((3, 7)), np.ones((2, 7)), TREE)
    with pytest.raises(ValueError, match="not finite"):
        votes.vote_fraction_rmse(np.full((2, 7), np.nan), np.ones((2, 7)), TREE)


def test_likelihood_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    alpha, counts = rng.uniform(0.3, 9, (40, 2)), rng.integers(0, 12, (40, 2)).astype(float)
    tree = VoteTree.model_validate({"questions": [{"name": "q", "answers": ["a", "b"]}]})
    expected = [
        -stats.dirichlet_multinomial.logpmf(k.astype(int), a, int(k.sum())) for a, k in zip(alpha, counts, strict=True)
    ]
    assert votes.nll(alpha, counts, tree) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("wider", "low", "high"), [(1.0, 0.64, 0.72), (0.1, 0.75, 1.0), (20.0, 0.0, 0.6)])
def test_coverage_is_nominal_only_for_the_true_distribution(wider: float, low: float, high: float) -> None:
    rng = np.random.default_rng(3)
    alpha = rng.uniform(1, 8, (3000, 2))
    counts = np.array([rng.multinomial(60, rng.dirichlet(a)) for a in alpha])
    tree = VoteTree.model_validate({"questions": [{"name": "q", "answers": ["a", "b"]}]})
    assert low < votes.coverage(wider * alpha, counts, tree, 0.68) < high
