# Catalogue, products and figures of a survey from the predictions of all tasks.


rule catalog:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        predictions=predictions,
        shares=shares,
    output:
        catalog=f"{RESULTS}/{{survey}}/catalog.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/catalog.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/catalog.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        shares=lambda wildcards, input: (
            ["--shares", *input.shares] if input.shares else []
        ),
    message:
        "{wildcards.survey}: write the catalogue"
    shell:
        "astrodl catalog {input.store:q} {input.predictions:q} --out {output.catalog:q} {params.shares:q}"
        " > {log:q} 2>&1"


# A file of a task beside the catalogue, such as the redshift PDFs.
rule product:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        predictions=product_predictions,
    output:
        product=f"{RESULTS}/{{survey}}/{{product}}",
    log:
        f"{RESULTS}/{{survey}}/logs/product-{{product}}.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/product-{{product}}.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        task=lambda wildcards: PRODUCTS[wildcards.product],
    message:
        "{wildcards.survey}: write {wildcards.product}"
    shell:
        "astrodl product {params.task} {input.store:q} {input.predictions:q} --out {output.product:q} > {log:q} 2>&1"


rule map:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        predictions=predictions,
    output:
        page=f"{RESULTS}/{{survey}}/map.html",
    log:
        f"{RESULTS}/{{survey}}/logs/map.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/map.tsv"
    wildcard_constraints:
        survey=one_of(MAPPED),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    message:
        "{wildcards.survey}: write the latent map as a page"
    shell:
        "astrodl map {input.store:q} {input.predictions:q} --out {output.page:q} > {log:q} 2>&1"


rule overview:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        metrics=metrics,
    output:
        figures=report(
            directory(f"{RESULTS}/{{survey}}/figures"),
            patterns=["{name}.png"],
            caption="../report/overview.rst",
            category="survey",
            subcategory="{survey}",
            labels={"figure": "{name}"},
        ),
    log:
        f"{RESULTS}/{{survey}}/logs/overview.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/overview.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    message:
        "{wildcards.survey}: draw objects, splits and metrics of the survey"
    shell:
        "astrodl overview {input.store:q} {input.metrics:q} --out {output.figures:q} > {log:q} 2>&1"
