"""What declarations come to once taken apart: typed columns of a source, typed features of a view.

These functions expect definitions that passed ``checks``; on others they raise ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Mapping

from twinlake.definitions.on_demand import OnDemandView
from twinlake.definitions.services import FeatureService
from twinlake.definitions.sources import Source
from twinlake.definitions.times import parse_duration_us
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES, canonical_type, parse_schema
from twinlake.definitions.views import Feature, FeatureView


def raw_columns(source: Source) -> dict[str, str]:
    """Give the columns of a source as they arrive: name to canonical type."""
    return {column.name: column.type for column in parse_schema(source.schema)}


def derived_columns(source: Source) -> dict[str, str]:
    """Give the columns that a source derives: name to canonical type."""
    return {name: canonical_type(column.type) for name, column in source.with_columns.items()}


def all_columns(source: Source) -> dict[str, str]:
    """Give raw and derived columns together, raw ones first."""
    return raw_columns(source) | derived_columns(source)


def feature_type(function: str | None, column_type: str | None) -> str:
    """Give the type of a feature.

    Counts and sums of integers are bigint; sums of anything else, means and deviations are double;
    everything else has the column's type.

    Examples:
        >>> feature_type("sum", "int"), feature_type("sum", "decimal(12,2)")
        ('bigint', 'double')
        >>> feature_type("max", "float")
        'float'
    """
    if function == "count":
        return "bigint"
    if column_type is None:
        raise ValueError(f"{function} needs a column")
    if function in {"mean", "stddev"}:
        return "double"
    if function == "sum":
        return "bigint" if column_type in INTEGER_TYPES else "double"
    return column_type


def view_features(view: FeatureView) -> tuple[Feature, ...]:
    """Give a view's features in declared order, each with its type and window."""
    types = all_columns(view.source)
    features = []
    for name, column, function, window in view.declared():
        column_type = None if column is None else types[column]
        window_us = None if window is None else parse_duration_us(window)
        features.append(
            Feature(name, feature_type(function, column_type), column, function, window_us)
        )
    return tuple(features)


def stored_features(view: FeatureView) -> tuple[Feature, ...]:
    """Give a view's features in the order of the online store's columns: by name.

    The order in which they were written is no part of a view's meaning, so no table depends on it.
    """
    return tuple(sorted(view_features(view), key=lambda feature: feature.name))


def longest_window_us(view: FeatureView) -> int:
    """Give the length of a view's longest window in microseconds; 0 without any."""
    return max((feature.window_us or 0 for feature in view_features(view)), default=0)


def needed_columns(view: FeatureView) -> dict[str, str]:
    """Give the source columns that a view reads for its features: name to type, in order."""
    types = all_columns(view.source)
    return {
        feature.column: types[feature.column]
        for feature in view_features(view)
        if feature.column is not None
    }


def on_demand_inputs(view: OnDemandView) -> dict[str, str]:
    """Give what an on-demand view's function reads: name to canonical type, in order."""
    inputs: dict[str, str] = {}
    for read, names in view.reads():
        types = {feature.name: feature.type for feature in view_features(read)}
        inputs |= {name: types[name] for name in names}
    return inputs | request_types(view.request)


def on_demand_outputs(view: OnDemandView) -> dict[str, str]:
    """Give the features of an on-demand view: name to canonical type, in declared order."""
    return {name: canonical_type(kind) for name, kind in view.outputs.items()}


def request_types(fields: Mapping[str, str]) -> dict[str, str]:
    """Give the canonical types of request fields."""
    return {name: canonical_type(kind) for name, kind in fields.items()}


def service_types(service: FeatureService) -> dict[str, str]:
    """Give the features of a service, in order: name to type."""
    types: dict[str, str] = {}
    for view, names in service.parts():
        if isinstance(view, OnDemandView):
            known = on_demand_outputs(view)
        else:
            known = {feature.name: feature.type for feature in view_features(view)}
        types |= {name: known[name] for name in names}
    return types


def numeric_kind(type_name: str) -> str:
    """Tell how the kernel holds a type: ``float``, ``int`` (also scaled decimals) or ``other``."""
    if type_name in FLOAT_TYPES:
        return "float"
    if type_name in INTEGER_TYPES or type_name.startswith("decimal("):
        return "int"
    return "other"
