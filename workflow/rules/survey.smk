# Stores of simulated or real surveys.


rule simulate:
    output:
        catalog=f"{RESULTS}/{{survey}}/simulated/catalog.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/simulate.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/simulate.tsv"
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        out=subpath(output.catalog, parent=True),
        settings=simulate_settings,
    message:
        "{wildcards.survey}: simulate the survey"
    shell:
        "astrodl simulate --out {params.out:q} --settings {params.settings:q} --workers {threads} > {log:q} 2>&1"


rule ingest:
    input:
        catalog=survey_catalog,
    output:
        store=f"{RESULTS}/{{survey}}/store.h5",
        summary=f"{RESULTS}/{{survey}}/ingest.json",
        quarantine=f"{RESULTS}/{{survey}}/quarantine.ecsv",
    log:
        f"{RESULTS}/{{survey}}/logs/ingest.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/ingest.tsv"
    wildcard_constraints:
        survey=one_of([name for name in SURVEYS if name not in SHARDED]),
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        settings=ingest_settings,
        simulated=simulated_folder,
    message:
        "{wildcards.survey}: read images and catalogue into the store"
    shell:
        "astrodl ingest --out {output.store:q} --settings {params.settings:q} {params.simulated:q} --workers {threads}"
        " > {log:q} 2>&1"
