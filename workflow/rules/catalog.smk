# From all tasks to one catalogue and the figures of the whole survey.


rule catalog:
    input:
        store=f"{RESULTS}/{{survey}}/store.h5",
        predictions=predictions,
    output:
        catalog=f"{RESULTS}/{{survey}}/catalog.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/catalog.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/catalog.tsv"
    wildcard_constraints:
        survey=one_of([name for name in SURVEYS if name not in WITH_PDFS]),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        pdfs=[],
    message:
        "{wildcards.survey}: write the catalogue"
    shell:
        "astrodl catalog {input.store:q} {input.predictions:q} --out {output.catalog:q} {params.pdfs:q} > {log:q} 2>&1"


# The same, where there are redshift PDFs to write beside the catalogue.
use rule catalog as catalog_with_pdfs with:
    output:
        catalog=f"{RESULTS}/{{survey}}/catalog.fits",
        pdfs=f"{RESULTS}/{{survey}}/photoz_pdf.hdf5",
    wildcard_constraints:
        survey=one_of(WITH_PDFS),
    params:
        pdfs=lambda wildcards, output: ["--pdfs", output.pdfs],


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
