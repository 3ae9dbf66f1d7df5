"""Copy the test objects of a store, or the first N of them, into a store: ``python test_store.py STORE OUT [N]``."""

import sys
from pathlib import Path

import h5py

from astrodl import open_store
from astrodl.atomic import replacing
from astrodl.store.layout import list_datasets
from astrodl.store.writer import dataset_digest


def main(store: str, out: str, n_test: str | None = None) -> None:
    with open_store(store) as reader:
        rows = reader.select("test")[: n_test and int(n_test)]
    with replacing(Path(out)) as temporary, h5py.File(store) as source, h5py.File(temporary, "w") as target:
        target.attrs.update(source.attrs)
        for name, dataset in list_datasets(source):
            copied = target.create_dataset(name, data=dataset[rows], dtype=dataset.dtype)
            copied.attrs.update(dataset.attrs)
            copied.attrs["sha256"] = dataset_digest(copied)


if __name__ == "__main__":
    main(*sys.argv[1:])
