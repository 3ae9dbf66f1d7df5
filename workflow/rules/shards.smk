# Surveys with the key `shards`. The usual rules train the networks on a sample; the rules below ingest and predict each
# shard, and merge the catalogues of the shards into one in the HATS format.


rule shard:
    input:
        catalog=survey_catalog,
    output:
        # Written last: it stands for the files of the shards beside it.
        summary=f"{RESULTS}/{{survey}}/shards/shards.json",
        sample=f"{RESULTS}/{{survey}}/shards/sample.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/shard.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/shard.tsv"
    wildcard_constraints:
        survey=one_of(SHARDED),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        out=subpath(output.summary, parent=True),
        settings=shard_settings,
        simulated=simulated_folder,
    message:
        "{wildcards.survey}: divide the survey into shards"
    shell:
        "astrodl shard --out {params.out:q} --settings {params.settings:q} {params.simulated:q} > {log:q} 2>&1"


# The objects with which networks are trained, validated and tested.
use rule ingest as ingest_sample with:
    input:
        catalog=f"{RESULTS}/{{survey}}/shards/sample.fits",
    wildcard_constraints:
        survey=one_of(SHARDED),
    params:
        settings=ingest_settings,
        simulated=shard_options,
    message:
        "{wildcards.survey}: read images and catalogue of the sample into a store"


use rule ingest as ingest_shard with:
    input:
        catalog=f"{RESULTS}/{{survey}}/shards/shards.json",
    output:
        store=f"{RESULTS}/{{survey}}/shards/{{shard}}/store.h5",
        summary=f"{RESULTS}/{{survey}}/shards/{{shard}}/ingest.json",
        quarantine=f"{RESULTS}/{{survey}}/shards/{{shard}}/quarantine.ecsv",
    log:
        f"{RESULTS}/{{survey}}/logs/shards/{{shard}}/ingest.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/shards/{{shard}}/ingest.tsv"
    wildcard_constraints:
        survey=one_of(SHARDED),
    params:
        settings=ingest_settings,
        simulated=shard_options,
    message:
        "{wildcards.survey}: read images and catalogue of shard {wildcards.shard} into its store"


use rule predict as predict_shard with:
    input:
        store=f"{RESULTS}/{{survey}}/shards/{{shard}}/store.h5",
        models=models,
    output:
        f"{RESULTS}/{{survey}}/shards/{{shard}}/{{task}}/predictions.h5",
    log:
        f"{RESULTS}/{{survey}}/logs/shards/{{shard}}/predict-{{task}}.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/shards/{{shard}}/predict-{{task}}.tsv"
    message:
        "{wildcards.survey}: predict {wildcards.task} of shard {wildcards.shard}"


use rule shares as shares_shard with:
    input:
        store=f"{RESULTS}/{{survey}}/shards/{{shard}}/store.h5",
        models=models,
    output:
        f"{RESULTS}/{{survey}}/shards/{{shard}}/{{task}}/shares.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/shards/{{shard}}/shares-{{task}}.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/shards/{{shard}}/shares-{{task}}.tsv"
    message:
        "{wildcards.survey}: measure which bands and annuli the predictions of {wildcards.task} come from, in shard {wildcards.shard}"


use rule catalog as catalog_shard with:
    input:
        store=f"{RESULTS}/{{survey}}/shards/{{shard}}/store.h5",
        predictions=shard_predictions,
        shares=shard_shares,
    output:
        catalog=f"{RESULTS}/{{survey}}/shards/{{shard}}/catalog.fits",
    log:
        f"{RESULTS}/{{survey}}/logs/shards/{{shard}}/catalog.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/shards/{{shard}}/catalog.tsv"
    message:
        "{wildcards.survey}: write the catalogue of shard {wildcards.shard}"


use rule product as product_shard with:
    input:
        store=f"{RESULTS}/{{survey}}/shards/{{shard}}/store.h5",
        predictions=product_predictions,
    output:
        product=f"{RESULTS}/{{survey}}/shards/{{shard}}/{{product}}",
    log:
        f"{RESULTS}/{{survey}}/logs/shards/{{shard}}/product-{{product}}.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/shards/{{shard}}/product-{{product}}.tsv"
    message:
        "{wildcards.survey}: write {wildcards.product} of shard {wildcards.shard}"


rule hats:
    input:
        catalogs=lambda wildcards: catalogs_of(wildcards.survey),
    output:
        folder=directory(f"{RESULTS}/{{survey}}/hats"),
    log:
        f"{RESULTS}/{{survey}}/logs/hats.log",
    benchmark:
        f"{RESULTS}/{{survey}}/benchmarks/hats.tsv"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
    message:
        "{wildcards.survey}: merge the catalogues into one HATS catalogue"
    shell:
        "astrodl hats {input.catalogs:q} --out {output.folder:q} --name {wildcards.survey:q} > {log:q} 2>&1"
