"""Configuration sections shared by all tasks: frozen, typed, unknown keys refused.

The sections of the tasks live with the tasks; `astrodl.pipeline.schema` composes all of them into the root
configuration.
"""

from astrodl.config.augmentation import AugmentSettings, NuisanceSettings
from astrodl.config.reading import read_settings, read_yaml
from astrodl.config.section import (
    Fraction,
    Name,
    PluginName,
    Section,
    canonical_json,
    expand,
    parse,
)
from astrodl.config.simulation import SURVEY_DEFAULTS, InstrumentSettings, SimulateSettings
from astrodl.config.split import IngestSettings, SplitSettings
from astrodl.config.survey import (
    LAYOUTS,
    BandSettings,
    DataSettings,
    LabelSettings,
    MaskSettings,
    NoiseSettings,
    PlaneSettings,
    PsfSettings,
)
from astrodl.config.training import TaskSettings, TrainSettings
from astrodl.config.votes import Question, VoteTree, read_tree

__all__ = [
    "LAYOUTS",
    "SURVEY_DEFAULTS",
    "AugmentSettings",
    "BandSettings",
    "DataSettings",
    "Fraction",
    "IngestSettings",
    "InstrumentSettings",
    "LabelSettings",
    "MaskSettings",
    "Name",
    "NoiseSettings",
    "NuisanceSettings",
    "PlaneSettings",
    "PluginName",
    "PsfSettings",
    "Question",
    "Section",
    "SimulateSettings",
    "SplitSettings",
    "TaskSettings",
    "TrainSettings",
    "VoteTree",
    "canonical_json",
    "expand",
    "parse",
    "read_settings",
    "read_tree",
    "read_yaml",
]
