import numpy as np
import pytest
from matplotlib.figure import Figure


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)


@pytest.fixture
def draw():
    """Lay a figure out, so that layout problems raise (warnings are errors), and return it."""

    def lay_out(figure):
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
        return figure

    return lay_out


@pytest.fixture
def texts(draw):
    """Return all texts in a figure as lines of one string."""

    def collect(figure):
        draw(figure)
        found = [figure.get_suptitle()] + [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        found += [legend.get_title().get_text() for legend in figure.legends]
        for axes in figure.axes:
            found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
            found += [text.get_text() for text in axes.texts]
            if axes.get_legend():
                found += [text.get_text() for text in axes.get_legend().get_texts()]
        return "\n".join(found)

    return collect
