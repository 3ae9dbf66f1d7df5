# The validated configuration, and input functions of the rules.
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

# The rules find astrodl beside the Python of snakemake, also if its environment is not activated.
os.environ.update(
    PATH=os.pathsep.join(
        [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    )
)


def stop(message):
    """Exit with one line and status 2, as the command line does for errors that a user can fix."""
    print(f"astrodl: config: {message}", file=sys.stderr)
    sys.exit(2)


def check_files():
    """Refuse files with a key given twice or nested aliases without end, which Snakemake takes without a word."""
    files = [str(path) for path in workflow.configfiles]
    if not files or not workflow.is_main_process:
        return
    if not shutil.which("astrodl"):
        print(
            "astrodl: config: the YAML is not checked for keys given twice: astrodl is not installed beside snakemake",
            file=sys.stderr,
        )
        return
    checked = subprocess.run(
        ["astrodl", "check", "--only-yaml", *files], capture_output=True, text=True
    )
    if checked.returncode:
        lines = checked.stderr.strip().splitlines() or ["the files cannot be read"]
        stop(lines[-1].removeprefix("astrodl: "))


def first_error(schema):
    """Return the most relevant error of the merged configuration (files and --config), or None.

    Not `snakemake.utils.validate`: its message is a page long, and the defaults that it fills in would change `config`.
    """
    return best_match(Draft202012Validator(schema).iter_errors(config))


def validate_config():
    """Validate the configuration and return the schema: the packaged one, or one that includes installed plugins."""
    schema = json.loads(
        Path(workflow.source_path("../schemas/config.schema.json")).read_text()
    )
    error = first_error(schema)
    if error is None:
        return schema
    if shutil.which("astrodl"):
        listed = subprocess.run(["astrodl", "schema"], capture_output=True, text=True)
        if listed.returncode == 0:
            schema = json.loads(listed.stdout)
            error = first_error(schema)
    if error is None:
        return schema
    key = ".".join(str(part) for part in error.absolute_path) or "(root)"
    known = (
        error.schema.get("properties")
        if error.validator == "additionalProperties"
        else None
    )
    accepted = f"; accepted here: {', '.join(sorted(known))}" if known else ""
    stop(
        f"{key}: {' '.join(error.message.split())}{accepted}; correct the configuration"
    )


def results_folder():
    """Return the folder of the results."""
    given = config.get("results", "results")
    folder = os.path.expanduser(os.path.expandvars(given))
    if not re.search(r"[^/. ]", folder) or re.search(r"[{}$\x00-\x1f]|^~", folder):
        stop(
            f"results = {given!r}: must be the path of a folder, without {{ and }}, in which variables are set; correct it"
        )
    return os.path.normpath(folder)


def validate_names():
    """Check the names of the surveys, which become folders; a schema accepts a key that YAML reads as a number."""
    names = list(config.get("surveys") or {})
    for name in names:
        if not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9_.+-]*", str(name)
        ) or not isinstance(name, str):
            stop(
                f"surveys: the name {name!r} must be text of letters, digits and _ . + -; rename the survey or quote it"
            )
        if name.lower() in RESERVED:
            stop(
                f"surveys: '{name}' is the name of a folder or file of the results ({', '.join(RESERVED)}); rename the survey"
            )
        alike = [other for other in names if str(other).lower() == name.lower()]
        if len(alike) > 1:
            stop(
                f"surveys: the names {' and '.join(alike)} are one folder on some disks; rename one"
            )


def survey_tasks(name):
    """List the tasks of a survey, in the order of the configuration."""
    chosen = SURVEYS[name].get("tasks")
    return [task for task in TASKS if chosen is None or task in chosen]


def check_survey(name):
    """Check keys that depend on each other, which a schema cannot express."""
    survey = SURVEYS[name]
    if (survey.get("simulate") is None) == (survey.get("data") is None):
        stop(f"surveys.{name}: give exactly one of `simulate` and `data`")
    unknown = sorted(set(survey.get("tasks") or ()) - set(TASKS))
    if unknown:
        stop(
            f"surveys.{name}.tasks: '{unknown[0]}' is not a key of `tasks` ({', '.join(TASKS)}); add it there or remove it here"
        )
    if (survey.get("data") or {}).get("layout") == "table":
        check_without_images(name)
    check_explained(name)
    if survey.get("models_from"):
        check_models_from(name, survey["models_from"])
    else:
        check_folds(name, (survey.get("split") or {}).get("folds", 1))


def check_explained(name):
    for key in ("explain", "shares"):
        explained = SURVEYS[name].get(key) or ()
        unknown = sorted(set(explained) - set(survey_tasks(name)))
        if unknown:
            stop(
                f"surveys.{name}.{key}: '{unknown[0]}' is not a task of the survey ({', '.join(survey_tasks(name))}); add it or remove it here"
            )
        if explained and (SURVEYS[name].get("data") or {}).get("layout") == "table":
            stop(
                f"surveys.{name}.{key}: explanations are maps, and the survey has no images (data.layout table); remove it"
            )


def check_without_images(name):
    for task in survey_tasks(name):
        if ABOUT[task]["needs_images"]:
            stop(
                f"tasks.{task}: needs pixels, and survey {name} has no images (data.layout table); remove this task, or list the others in surveys.{name}.tasks"
            )


def check_models_from(name, other):
    trained = [key for key in SURVEYS if not SURVEYS[key].get("models_from")]
    if other not in trained:
        stop(
            f"surveys.{name}.models_from: '{other}' is not a survey that trains (there are: {', '.join(trained)}); name one of them"
        )
    missing = [task for task in survey_tasks(name) if task not in survey_tasks(other)]
    if missing:
        stop(
            f"surveys.{name}: task '{missing[0]}' is not trained in '{other}'; restrict surveys.{name}.tasks, or train it there"
        )


def check_folds(name, n_folds):
    for task in survey_tasks(name):
        beyond = [fold for fold in folds(task) if fold >= n_folds]
        if beyond:
            stop(
                f"tasks.{task}.folds: fold {beyond[0]} is not below surveys.{name}.split.folds = {n_folds}; raise that or drop the fold"
            )


def one_of(names):
    """Return a regular expression that matches the names, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def canonical(section):
    """Return the same text for equal sections: a job runs again only if its section changes."""
    return json.dumps(section, sort_keys=True, separators=(",", ":"))


def folds(task):
    return TASKS[task].get("folds", [0])


def seeds(task):
    return TASKS[task].get("seeds", [0])


def simulate_settings(wildcards):
    return canonical(SURVEYS[wildcards.survey]["simulate"])


def ingest_settings(wildcards):
    survey = SURVEYS[wildcards.survey]
    kept = {
        key: survey[key]
        for key in ("simulate", "data", "split")
        if survey.get(key) is not None
    }
    return canonical({"survey": wildcards.survey, **kept})


def shard_settings(wildcards):
    """Return the settings of the ingestion and the number of shards."""
    shards = SURVEYS[wildcards.survey]["shards"]
    return canonical({**json.loads(ingest_settings(wildcards)), "shards": shards})


def shard_names(survey):
    """List the names of the shards of a survey, which are also their folders."""
    return [f"{number:04d}" for number in range(SURVEYS[survey].get("shards") or 0)]


def task_settings(wildcards):
    """Return the section of a task without folds and seeds: another seed must not repeat the existing trainings."""
    return canonical(
        {
            key: value
            for key, value in TASKS[wildcards.task].items()
            if key not in ("folds", "seeds")
        }
    )


def survey_catalog(wildcards):
    """Return the input catalogue, relative to the root of the data or to the working directory.

    The images are not inputs, because there may be a million: `touch` the catalogue after changing them.
    """
    survey = SURVEYS[wildcards.survey]
    if survey.get("simulate") is not None:
        return f"{RESULTS}/{wildcards.survey}/simulated/catalog.fits"
    root = os.path.expanduser(os.path.expandvars(survey["data"].get("root", ".")))
    name = os.path.expanduser(os.path.expandvars(survey["data"]["catalog"]))
    path = os.path.join(root, name)
    if os.path.exists(path) or os.path.exists(name):
        return path if os.path.exists(path) else name
    stop(
        f"surveys.{wildcards.survey}.data: the catalogue {path} does not exist; correct `root` or `catalog`"
    )


def simulated_folder(wildcards):
    """Return the option that names the simulated survey, if any."""
    simulated = SURVEYS[wildcards.survey].get("simulate") is not None
    return (
        ["--simulated", f"{RESULTS}/{wildcards.survey}/simulated"] if simulated else []
    )


def shard_options(wildcards):
    """Return the options that name the simulated survey, and the file of the shard or of the sample."""
    shards = f"{RESULTS}/{wildcards.survey}/shards"
    shard = wildcards.get("shard")
    part = f"{shards}/{shard}/objects.fits" if shard else f"{shards}/sample.fits"
    return [*simulated_folder(wildcards), "--shard", part]


def trained_survey(wildcards):
    """Return the survey that provides the models: this one or another."""
    return SURVEYS[wildcards.survey].get("models_from") or wildcards.survey


def trained(wildcards, name):
    """List a file of every training of the task."""
    survey, task = trained_survey(wildcards), wildcards.task
    return expand(
        f"{RESULTS}/{survey}/{task}/fold{{fold}}-seed{{seed}}/{name}",
        fold=folds(task),
        seed=seeds(task),
    )


def models(wildcards):
    return trained(wildcards, "model.safetensors")


def histories(wildcards):
    return trained(wildcards, "history.jsonl")


def train_store(wildcards):
    """Return the store that baselines are trained on, if it is of another survey."""
    survey = trained_survey(wildcards)
    return [] if survey == wildcards.survey else f"{RESULTS}/{survey}/store.h5"


def predictions(wildcards):
    return [
        f"{RESULTS}/{wildcards.survey}/{task}/predictions.h5"
        for task in survey_tasks(wildcards.survey)
    ]


def shard_predictions(wildcards):
    return [
        f"{RESULTS}/{wildcards.survey}/shards/{wildcards.shard}/{task}/predictions.h5"
        for task in survey_tasks(wildcards.survey)
    ]


def shares(wildcards):
    return [
        f"{RESULTS}/{wildcards.survey}/{task}/shares.fits"
        for task in SURVEYS[wildcards.survey].get("shares") or ()
    ]


def shard_shares(wildcards):
    return [
        f"{RESULTS}/{wildcards.survey}/shards/{wildcards.shard}/{task}/shares.fits"
        for task in SURVEYS[wildcards.survey].get("shares") or ()
    ]


def catalogs_of(survey):
    """List the catalogues of the shards of a survey, or its only catalogue."""
    shards = shard_names(survey)
    parts = [f"{RESULTS}/{survey}/shards/{shard}/catalog.fits" for shard in shards]
    return parts or [f"{RESULTS}/{survey}/catalog.fits"]


def products_of(survey):
    """List the products of the tasks of a survey, for every shard if it has shards."""
    folders = [f"{RESULTS}/{survey}/shards/{shard}" for shard in shard_names(survey)]
    return [
        f"{folder}/{product}"
        for folder in folders or [f"{RESULTS}/{survey}"]
        for product, task in PRODUCTS.items()
        if task in survey_tasks(survey)
    ]


def product_predictions(wildcards):
    """Return the predictions of the task that writes a product."""
    shard, task = wildcards.get("shard"), PRODUCTS[wildcards.product]
    if shard:
        return f"{RESULTS}/{wildcards.survey}/shards/{shard}/{task}/predictions.h5"
    return f"{RESULTS}/{wildcards.survey}/{task}/predictions.h5"


def has_positions(name):
    """Return whether the catalogue of a survey has a right ascension."""
    survey = SURVEYS[name]
    return survey.get("data") is None or survey["data"].get("ra_column") is not None


def metrics(wildcards):
    return [
        f"{RESULTS}/{wildcards.survey}/{task}/metrics.json"
        for task in survey_tasks(wildcards.survey)
    ]


def growing(amount):
    """Return a resource that grows with every attempt, for jobs that are killed for lack of memory or time."""
    return lambda wildcards, attempt: amount * attempt


def train_priority(wildcards):
    """Start the longest trainings first, so that none runs alone at the end."""
    return ABOUT[wildcards.task]["priority"]


def targets():
    """List all results, including the metrics: a task whose folder was removed runs again."""
    files = []
    for survey in SURVEYS:
        files += [*catalogs_of(survey), *products_of(survey)]
        files += [f"{RESULTS}/{survey}/figures"]
        files += [f"{RESULTS}/{survey}/map.html"] if survey in MAPPED else []
        if survey in SHARDED and has_positions(survey):
            files += [f"{RESULTS}/{survey}/hats"]
        files += [
            f"{RESULTS}/{survey}/{task}/metrics.json" for task in survey_tasks(survey)
        ]
        files += [
            f"{RESULTS}/{survey}/{task}/explanation"
            for task in SURVEYS[survey].get("explain") or ()
        ]
    return files


RESERVED = (
    "benchmarks",
    "figures",
    "hats",
    "logs",
    "report.html",
    "shards",
    "simulated",
)
check_files()
validate_names()
ABOUT = validate_config()["x-tasks"]
RESULTS = results_folder()
SURVEYS = config["surveys"]
TASKS = {task: section or {} for task, section in config["tasks"].items()}
# Surveys with a latent map.
MAPPED = [name for name in SURVEYS if "latent" in survey_tasks(name)]
SHARDED = [name for name in SURVEYS if SURVEYS[name].get("shards")]
PRODUCTS = {product: task for task in TASKS for product in ABOUT[task]["products"]}
for name in SURVEYS:
    check_survey(name)
# For the heading of the report.
config["configfiles"] = [os.path.abspath(path) for path in workflow.configfiles]
# Links of the report, which is written beside the results of the only survey, or of all surveys.
config["maps"] = {
    name: "map.html" if len(SURVEYS) == 1 else f"{name}/map.html" for name in MAPPED
}
