"""Table of the ablations in docs/tasks/segmentation.md; ablations.yaml lists the trainings."""

from pathlib import Path

import study

METRICS = ("clump_dice", "clump_f1", "bright_completeness", "fraction_mae", "bt_rmse", "bt_within_01")


def ablations(part: str, survey: str) -> str:
    """Tabulate the metrics of the runs of a part, with their spread over seeds, and the time of the training."""
    runs = study.read_runs(__file__, part)
    metrics = {name: [study.read_metrics(run) for run in folders] for name, folders in runs.items()}
    first = next(iter(runs.values()))[0]
    n_test = len(study.read_test(first, survey)[1]["bt"])
    epochs = study.read_yaml(__file__)["parts"][part]["settings"]["train"]["epochs"]
    about = (
        f"{study.count_training(first, survey):,} training and {n_test:,} test galaxies, {epochs} epochs, one view; "
        "mean and standard deviation over seeds; CPU seconds of the training."
    )
    return about + "\n\n" + study.run_table(metrics, *METRICS, "seconds")


PARTS = {"segmentation-ablations": lambda: ablations("segmentation-ablations", "main")}


if __name__ == "__main__":
    study.main(PARTS)
