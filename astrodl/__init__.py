"""Deep learning for galaxy surveys, from FITS to catalogue.

The names below are imported when they are first used, so that `import astrodl` costs nothing.
"""

import importlib
from typing import Any

_HOMES = {
    "AstrodlError": "astrodl.errors",
    "open_store": "astrodl.store",
    "simulate": "astrodl.survey.simulate",
    "ingest": "astrodl.survey.ingest",
    "load_model": "astrodl.tasks.model",
    "load_config": "astrodl.schema",
}

_MODULES = ("photoz",)

__all__ = ["AstrodlError", "__version__", "ingest", "load_config", "load_model", "open_store", "photoz", "simulate"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("astrodl")
    elif name in _MODULES:
        value = importlib.import_module(f"astrodl.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'astrodl' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
