"""Entities: what a feature is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entity:
    """What a feature is about, and the columns that name it.

    Attributes:
        name: The entity's name.
        join_keys: Column name to type, in the order in which they form the online key.
        description: For people; no part of the meaning.
    """

    name: str
    join_keys: Mapping[str, str]
    description: str = ""
