"""Deep learning for galaxy surveys, from FITS to catalogue.

The names below are imported when they are first used, so that `import astrodl` costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AstrodlError": "astrodl.errors",
    "baseline": "astrodl.pipeline.baseline",
    "catalog": "astrodl.pipeline.catalog",
    "check": "astrodl.pipeline.check",
    "embed": "astrodl.pipeline.embed",
    "evaluate": "astrodl.pipeline.evaluate",
    "explain": "astrodl.pipeline.explain",
    "ingest": "astrodl.ingestion.ingest",
    "init": "astrodl.discover",
    "inject": "astrodl.pipeline.inject",
    "inspect": "astrodl.pipeline.inspect",
    "load_config": "astrodl.pipeline.schema",
    "load_model": "astrodl.tasks.model",
    "open_store": "astrodl.store",
    "map": "astrodl.pipeline.map",
    "overview": "astrodl.pipeline.overview",
    "predict": "astrodl.pipeline.predict",
    "product": "astrodl.pipeline.product",
    "rerank": "astrodl.pipeline.rerank",
    "review": "astrodl.pipeline.review",
    "schema": "astrodl.pipeline.schema",
    "segment": "astrodl.pipeline.segment",
    "shard": "astrodl.ingestion.shard",
    "similar": "astrodl.pipeline.similar",
    "simulate": "astrodl.simulator.survey",
    "summary": "astrodl.pipeline.summary",
    "train": "astrodl.pipeline.train",
}

_MODULES = ("photoz",)

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(f"astrodl.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'astrodl' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
