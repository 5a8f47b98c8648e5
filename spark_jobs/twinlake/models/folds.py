"""Cross-validation: each row is judged by a model that saw neither it nor a row equal to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinlake.errors import InputError
from twinlake.models.columns import Doubles
from twinlake.models.content import row_hashes
from twinlake.models.recipe import TrainingRecipe


def folds_of(rows: pa.Table, recipe: TrainingRecipe) -> npt.NDArray[np.int64]:
    """Part rows into folds, those with equal features together, each class as evenly as it goes.

    Which fold a row is in depends on the content of the rows alone, not on their order.

    Args:
        rows: Features and label, as ``check_columns`` gives them.
        recipe: Says how many folds.

    Returns:
        The number of each row's fold, shape (rows,).

    Raises:
        InputError: There are fewer different rows than folds.
    """
    count = recipe.folds or 1
    batch = pa.RecordBatch.from_arrays(
        [rows[name].combine_chunks() for name in recipe.features], list(recipe.features)
    )
    hi, lo = row_hashes(batch, list(recipe.features))
    pairs = np.stack([hi, lo], axis=1)
    groups, group = np.unique(pairs, axis=0, return_inverse=True)
    if len(groups) < count:
        raise InputError(
            f"{len(groups)} different rows cannot be parted into {count} folds",
            hint="give more rows, or fewer folds to the model",
        )
    label = rows[recipe.label].to_numpy()
    of_group = np.full(len(groups), np.inf)
    np.minimum.at(of_group, group.ravel(), label)  # equal rows of two classes go with the lower
    order = np.lexsort((np.arange(len(groups)), of_group if _is_class(recipe) else 0 * of_group))
    fold = np.empty(len(groups), np.int64)
    fold[order] = np.arange(len(groups)) % count
    return fold[group.ravel()]


def out_of_fold(
    rows: pa.Table,
    recipe: TrainingRecipe,
    fit_and_ask: Callable[[pa.Table, pa.Table], Doubles],
) -> Doubles:
    """Judge each row by a model of the other folds.

    Args:
        rows: All rows.
        recipe: Says how many folds.
        fit_and_ask: Learns from the first rows and forecasts the second.

    Returns:
        What ``Scorer.predict`` gives, for all rows in their order.
    """
    fold = folds_of(rows, recipe)
    found: Doubles | None = None
    for number in range(recipe.folds or 1):
        is_asked = fold == number
        said = fit_and_ask(rows.filter(pa.array(~is_asked)), rows.filter(pa.array(is_asked)))
        if found is None:
            found = np.empty((len(rows), *said.shape[1:]))
        found[is_asked] = said
    if found is None:
        raise InputError("there is no row to learn from")
    return found


def _is_class(recipe: TrainingRecipe) -> bool:
    return bool(recipe.classes) or recipe.threshold is not None
