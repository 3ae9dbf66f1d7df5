# Models, predictions and metrics: the same rules for every task, one training for every fold and seed.


rule train:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
    output:
        model=f"{RESULTS}/{{survey}}/{{task}}/fold{{fold}}-seed{{seed}}/model.safetensors",
        history=f"{RESULTS}/{{survey}}/{{task}}/fold{{fold}}-seed{{seed}}/history.jsonl",
        config=f"{RESULTS}/{{survey}}/{{task}}/fold{{fold}}-seed{{seed}}/config.json",
    log:
        f"{RESULTS}/{{survey}}/logs/{{task}}/train-fold{{fold}}-seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/{{task}}/train-fold{{fold}}-seed{{seed}}.tsv"
    priority: train_priority
    # One thread: trainings run in parallel, and the weights do not depend on the number of cores.
    threads: 1
    resources:
        gpu=1,
        mem_mb=growing(4000),
        runtime=growing(720),
    params:
        out=subpath(output.model, parent=True),
        settings=task_settings,
    message:
        "{wildcards.survey}: train {wildcards.task}, fold {wildcards.fold}, seed {wildcards.seed}"
    # `exec` replaces the shell, which would exit at the SIGTERM of a scheduler before the training saves its state.
    # `--force`: a training that outlived its snakemake may have written a model of the former settings.
    shell:
        "exec astrodl train {wildcards.task} {input.store:q} --out {params.out:q} --settings {params.settings:q}"
        " --fold {wildcards.fold} --seed {wildcards.seed} --threads {threads} --processes {resources.gpu} --force"
        " > {log:q} 2>&1"


rule predict:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        models=models,
    output:
        f"{RESULTS}/{{survey}}/{{task}}/predictions.h5",
    log:
        f"{RESULTS}/{{survey}}/logs/{{task}}/predict.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/{{task}}/predict.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=growing(4000),
        runtime=growing(240),
    message:
        "{wildcards.survey}: predict {wildcards.task}"
    shell:
        "exec astrodl predict {wildcards.task} {input.store:q} {input.models:q} --out {output:q} --threads {threads}"
        " > {log:q} 2>&1"


rule baseline:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        train_store=train_store,
    output:
        f"{RESULTS}/{{survey}}/{{task}}/baseline.json",
    log:
        f"{RESULTS}/{{survey}}/logs/{{task}}/baseline.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/{{task}}/baseline.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        train_store=lambda wildcards, input: (
            ["--train-store", input.train_store] if input.train_store else []
        ),
        settings=task_settings,
    message:
        "{wildcards.survey}: classical baselines of {wildcards.task}"
    shell:
        "astrodl baseline {wildcards.task} {input.store:q} {params.train_store:q} --out {output:q}"
        " --settings {params.settings:q} --threads {threads} > {log:q} 2>&1"


rule evaluate:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        predictions=f"{RESULTS}/{{survey}}/{{task}}/predictions.h5",
        baseline=f"{RESULTS}/{{survey}}/{{task}}/baseline.json",
        history=histories,
        models=models,
    output:
        metrics=f"{RESULTS}/{{survey}}/{{task}}/metrics.json",
        figures=report(
            directory(f"{RESULTS}/{{survey}}/{{task}}/figures"),
            patterns=["{name}.png"],
            caption="../report/task.rst",
            category="{task}",
            subcategory="{survey}",
            labels={"figure": "{name}"},
        ),
    log:
        f"{RESULTS}/{{survey}}/logs/{{task}}/evaluate.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/{{task}}/evaluate.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        settings=task_settings,
    message:
        "{wildcards.survey}: measure {wildcards.task} on the test split and draw its figures"
    shell:
        "astrodl evaluate {wildcards.task} {input.store:q} {input.predictions:q} --baseline {input.baseline:q}"
        " --history {input.history:q} --models {input.models:q} --settings {params.settings:q}"
        " --out {output.metrics:q} --figures {output.figures:q}"
        " > {log:q} 2>&1"


rule explain:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        models=models,
    output:
        report(
            directory(f"{RESULTS}/{{survey}}/{{task}}/explanation"),
            patterns=["{name}.png"],
            caption="../report/explain.rst",
            category="{task}",
            subcategory="{survey}",
            labels={"figure": "explanation"},
        ),
    log:
        f"{RESULTS}/{{survey}}/logs/{{task}}/explain.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/{{task}}/explain.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=growing(4000),
        runtime=growing(60),
    message:
        "{wildcards.survey}: explain {wildcards.task} by maps of some test objects and what the network looks for"
    # The first model: maps of several networks would have to be averaged.
    shell:
        "astrodl explain {input.models[0]:q} {input.store:q} --out {output:q} --units --threads {threads} > {log:q} 2>&1"


rule shares:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        models=models,
    output:
        f"{RESULTS}/{{survey}}/{{task}}/shares.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/{{task}}/shares.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/{{task}}/shares.tsv"
    threads: 1
    resources:
        gpu=1,
        mem_mb=growing(4000),
        runtime=growing(240),
    message:
        "{wildcards.survey}: measure which bands and annuli the predictions of {wildcards.task} come from"
    # The first model, as for the maps.
    shell:
        "astrodl explain {input.models[0]:q} {input.store:q} --shares {output:q} --threads {threads} > {log:q} 2>&1"
