"""Write the generated parts of the pages: configuration.md, and the table of columns of each task.

`python docs/generate.py` rewrites them; a test fails where they are out of date.
"""

import atexit
import re
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from astrodl import ingest, open_store, simulate, tasks
from astrodl.config import IngestSettings, SimulateSettings, TrainSettings
from astrodl.data.batches import ResidentDataset
from astrodl.pipeline.objects import fit_context, labelled, training_arrays
from astrodl.pipeline.schema import schema as json_schema
from astrodl.simulator.survey import data_settings
from astrodl.tasks.model import Model

DOCS = Path(__file__).parent

INTRODUCTION = """\
# Configuration

<!-- written by docs/generate.py from the schema; do not edit -->

One YAML file describes a run: its surveys and its tasks. A key that is left out has its default. A key that is not
known, a wrong type or a value out of range ends the run at once with one line that names the key and what is accepted;
`astrodl check FILE` does the same without running anything.

```yaml
results: results
surveys:
  demo:
    simulate: {n_objects: 4000}       # or `data:` for a real survey
    split: {test: 0.2}
tasks:
  photoz: {}                          # a task runs where its key is present
  morphology: {train: {epochs: 40}}
```

The single verbs take a section of this file as `--settings`, either as JSON text or as the path of a YAML file:
`astrodl simulate` the keys of `simulate`, `astrodl ingest` the keys `survey`, `data` and `split` (or a whole file with
`--survey NAME`), and `train`, `baseline` and `evaluate` the section of their task. A change of a section makes the
workflow repeat the jobs that depend on this section, and no others.
"""

SECTIONS = {
    "": "RootSettings",
    "surveys.NAME": "SurveySettings",
    "surveys.NAME.simulate": "SimulateSettings",
    "surveys.NAME.simulate.instruments.BAND": "InstrumentSettings",
    "surveys.NAME.data": "DataSettings",
    "surveys.NAME.data.bands": "BandSettings",
    "surveys.NAME.data.labels": "LabelSettings",
    "surveys.NAME.data.noise": "NoiseSettings",
    "surveys.NAME.data.masks": "MaskSettings",
    "surveys.NAME.data.psf": "PsfSettings",
    "surveys.NAME.split": "SplitSettings",
}


def write_block(text: str, name: str, content: str) -> str:
    """Replace the text between the markers `<!-- name:begin -->` and `<!-- name:end -->`."""
    pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no markers of the block '{name}'")
    return pattern.sub(lambda match: f"{match[1]}{content.strip()}\n{match[2]}", text)


def configuration() -> str:
    """Return the page of all keys."""
    schema = json_schema()
    definitions = {"RootSettings": schema, **schema["$defs"]}
    described = _descriptions()
    parts = [INTRODUCTION]
    for path, name in SECTIONS.items():
        parts.append(_section(path or "(root)", definitions[name], definitions, described.get(name, {})))
    for task in tasks.NAMES:
        name = tasks.get(task).Settings.__name__
        parts.append(_section(f"tasks.{task}", definitions[name], definitions, described[name]))
    name = "AugmentSettings"
    parts.append(_section("tasks.TASK.augment", definitions[name], definitions, described[name]))
    return "\n".join([*parts, _training(definitions, described["TrainSettings"])])


def _training(definitions: dict[str, Any], described: dict[str, str]) -> str:
    """Return one table for the training loops of all tasks, which differ in defaults only."""
    rows = []
    for key, value in TrainSettings.model_json_schema()["properties"].items():
        default = _default(value)
        own = {task: _default(definitions[_training_of(task).__name__]["properties"][key]) for task in tasks.NAMES}
        others = "".join(f"; {task} {theirs}" for task, theirs in own.items() if theirs != default)
        rows.append([f"`{key}`", _kind(value, definitions), default + others, described[key].replace("\n", " ")])
    table = _table(["key", "type and range", "default", "meaning"], rows)
    return f"## `tasks.TASK.train`\n\nThe training loop, the same for every task but for some defaults.\n\n{table}"


def _training_of(task: str) -> type[TrainSettings]:
    return type(tasks.get(task).Settings().train)


def columns(task: str) -> str:
    """Return the table of a task's catalogue columns on a simulated survey."""
    with open_store(_small_survey()) as store:
        task_class = tasks.get(task)
        settings = task_class.Settings()
        made = task_class(settings, fit_context(task_class, settings, store))
        network = made.build().eval()
        indices = labelled(task_class, settings, store, "train")
        train = ResidentDataset.load(partial(training_arrays, made, store), indices, torch.device("cpu"))
        with torch.no_grad():
            made.context.constants.update(made.calibrate(network, train, train))
        predicted = Model(made, network).raw(made.read(store, np.arange(1)))
        rows = [[f"`{c.name}`", c.description, f"`{c.ucd}`"] for c in made.columns(made.finish(predicted))]
    return _table(["column", "content", "UCD"], rows)


@cache
def _small_survey() -> Path:
    """Simulate a survey that has every class, and return its store."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    settings = SimulateSettings(n_objects=60, size=32, bands=("F606W", "F814W", "F160W"), votes=10)
    simulate(settings, folder / "sky", progress=False)
    data = data_settings(settings, folder / "sky")
    ingest(IngestSettings(survey="small", data=data), folder / "store.h5", progress=False)
    return folder / "store.h5"


def _descriptions() -> dict[str, dict[str, str]]:
    """Return the descriptions of the keys of every section; a key that only changes a default inherits its text."""
    from astrodl import config
    from astrodl.pipeline import schema

    sections = [getattr(config, name) for name in dir(config)] + [schema.SurveySettings]
    for task in tasks.NAMES:
        sections.append(tasks.get(task).Settings)
    found: dict[str, dict[str, str]] = {}
    for section in sections:
        if isinstance(section, type) and issubclass(section, config.Section):
            texts = found[section.__name__] = {}
            for base in reversed([b for b in section.__mro__ if hasattr(b, "model_fields")]):
                texts.update({key: f.description for key, f in base.model_fields.items() if f.description})
    return found


def _section(path: str, node: dict[str, Any], definitions: dict[str, Any], described: dict[str, str]) -> str:
    required = set(node.get("required", ()))
    rows = []
    for key, value in node["properties"].items():
        default = "**required**" if key in required else _default(value)
        text = value.get("description") or described.get(key) or _resolved(value, definitions).get("description", "")
        rows.append([f"`{key}`", _kind(value, definitions), default, text.replace("\n", " ")])
    heading = path if path == "(root)" else f"`{path}`"
    about = "" if path == "(root)" else f"{node.get('description', '')}\n\n"
    return f"## {heading}\n\n{about}{_table(['key', 'type and range', 'default', 'meaning'], rows)}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None:
        return "none"
    if isinstance(default, dict) and len(default) > 2:
        return "its defaults"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`"
    if isinstance(default, dict):
        return f"`{{{', '.join(f'{key}: {item}' for key, item in default.items())}}}`"
    return f"`{default}`"


def _resolved(value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = value.get("$ref") or next((o["$ref"] for o in value.get("anyOf", ()) if "$ref" in o), None)
    return definitions[reference.rsplit("/", 1)[1]] if reference else value


def _kind(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the values that a key accepts."""
    if "anyOf" in value:
        options = [_kind(option, definitions) for option in value["anyOf"] if option.get("type") != "null"]
        return " or ".join(options) + (" or null" if len(options) < len(value["anyOf"]) else "")
    if "$ref" in value:
        return "section"
    if "enum" in value:
        return ", ".join(f"`{item}`" for item in value["enum"])
    kind = value.get("type", "any")
    if kind == "array":
        return _array(value, definitions)
    if kind == "object":
        inner = value.get("additionalProperties")
        # a name with a pattern is a key of `patternProperties`
        inner = inner or next(iter(value.get("patternProperties", {}).values()), None)
        return f"mapping of name to {_kind(inner, definitions)}" if inner else "mapping"
    words = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}[kind]
    if "pattern" in value:
        words = "name"
    return " ".join([words, *_limits(value)])


def _array(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "prefixItems" in value:
        return f"list of {len(value['prefixItems'])}: {_kind(value['prefixItems'][0], definitions)}"
    least = f", at least {value['minItems']}" if value.get("minItems") else ""
    item = _kind(value["items"], definitions)
    return f"list of {item}{'s' if item in ('name', 'integer', 'section') else ''}{least}"


def _limits(value: dict[str, Any]) -> list[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {value[key]:g}" for key, sign in signs.items() if key in value]
    if "multipleOf" in value:
        limits.append(f"multiple of {value['multipleOf']:g}")
    return [", ".join(limits)] if limits else []


def pages() -> dict[Path, str]:
    """Return the pages with up-to-date tables."""
    made = {DOCS / "configuration.md": configuration()}
    for task in tasks.NAMES:
        path = DOCS / "tasks" / f"{task}.md"
        made[path] = write_block(path.read_text("utf-8"), "columns", columns(task))
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
