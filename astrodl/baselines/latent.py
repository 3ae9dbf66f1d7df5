"""Principal components of images, the linear baseline of an autoencoder of equal dimension."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Components", "pca", "project_on_components", "redraw"]


class Components(NamedTuple):
    """Result of a principal component analysis."""

    train_latent: NDArray[np.float32]
    """Latent vectors of the training objects, (n_train, n)."""
    other_latent: NDArray[np.float32]
    """Latent vectors of the other objects, (n_other, n)."""
    other_reconstruction: NDArray[np.float32]
    """Reconstructions of the other images, (n_other, pixels)."""

    def arrays(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """Return vectors and map, the first two components, of the other objects and of the training objects."""
        of_other, of_train = (
            {"latent": latent, **({"map": latent[:, :2]} if latent.shape[1] > 1 else {})}
            for latent in (self.other_latent, self.train_latent)
        )
        return of_other, of_train


def pca(train_images: ArrayLike, other_images: ArrayLike, n_components: int, *, seed: int = 0) -> Components:
    """Project images on the first principal components of the training images.

    Parameters
    ----------
    train_images, other_images
        Flattened images, (n_train, pixels) and (n_other, pixels), normalised as for the autoencoder; NaN becomes
        the training mean of the pixel (zero where there is none).
    n_components
        Number of dimensions.
    seed
        Seed of the start of the iterations.

    Returns
    -------
    Components
        Latent vectors and reconstructions.

    Raises
    ------
    ValueError
        More dimensions than training objects or pixels, or different numbers of pixels.
    """
    from sklearn.decomposition import PCA
    from sklearn.impute import SimpleImputer

    train, other = (np.asarray(images, dtype=np.float32) for images in (train_images, other_images))
    if train.ndim != 2 or other.ndim != 2 or train.shape[1] != other.shape[1]:
        raise ValueError(f"images have shapes {train.shape} and {other.shape}; both must be (N, pixels)")
    if not 1 <= n_components <= min(train.shape):
        raise ValueError(f"n_components is {n_components}, must lie between 1 and {min(train.shape)}")
    train, other = (np.where(np.isfinite(images), images, np.nan) for images in (train, other))
    imputer = SimpleImputer(keep_empty_features=True).fit(train)
    train, other = imputer.transform(train), imputer.transform(other)
    # Lanczos iterations find a few components of thousands of pixels exactly; the randomised solver is off by degrees.
    solver = "arpack" if n_components < min(train.shape) else "full"
    model = PCA(n_components, svd_solver=solver, random_state=seed).fit(train)
    latent = model.transform(other)
    return Components(model.transform(train), latent, model.inverse_transform(latent))


def project_on_components(
    train: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], name: str, n_components: int
) -> Components:
    """Project an array of each object, such as its view, on principal components; see `pca`.

    There are fewer components where the training objects have no more.
    """
    of_train, of_other = (arrays[name].reshape(len(arrays[name]), -1) for arrays in (train, other))
    return pca(of_train, of_other, min(n_components, *of_train.shape))


def redraw(components: Components, train_images: NDArray[Any]) -> NDArray[np.float32]:
    """Redraw images of the other objects from their components, by the linear fit to the training objects.

    For components of the images themselves it is their reconstruction.

    Parameters
    ----------
    components
        Components of the training objects and of the others.
    train_images
        Images of the training objects, (n_train, ...).

    Returns
    -------
    ndarray
        Images of the other objects, (n_other, ...).
    """
    centre = components.train_latent.mean(0)
    flat = train_images.reshape(len(train_images), -1)
    mean = flat.mean(0)
    weights = np.linalg.lstsq(components.train_latent - centre, flat - mean, rcond=None)[0]
    return (mean + (components.other_latent - centre) @ weights).reshape(-1, *train_images.shape[1:])
