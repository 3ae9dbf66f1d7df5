import numpy as np
import pytest
from matplotlib.figure import Figure


@pytest.fixture
def rng():
    return np.random.default_rng(20260101)


@pytest.fixture
def texts():
    """Every text that a figure shows, drawn once so that layout problems (warnings are errors) come out."""

    def collect(figure):
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
        found = [figure.get_suptitle()] + [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        found += [legend.get_title().get_text() for legend in figure.legends]
        for axes in figure.axes:
            found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
            found += [text.get_text() for text in axes.texts]
            if axes.get_legend():
                found += [text.get_text() for text in axes.get_legend().get_texts()]
        return "\n".join(found)

    return collect
