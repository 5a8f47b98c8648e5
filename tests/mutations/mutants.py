"""The mutants: which guarantee each takes away, where, and which tests must notice."""

from __future__ import annotations

from dataclasses import dataclass

PRODUCT = "spark_jobs/twinlake"
VIRTUAL = "tests/simulation"
KERNEL = "tests/unit/kernel"
KAFKA = "tests/faults/test_kafka_faults.py"
FORGETTING = "tests/spark/test_forgetting.py"


@dataclass(frozen=True)
class Mutant:
    """One change of one place.

    Attributes:
        name: The guarantee that is gone.
        file: The file, from the checkout's root.
        before: The place; it is there once.
        after: What stands there instead.
        tests: What must go red.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "write timestamp is that of the commit",
        f"{PRODUCT}/flows/publishing.py",
        "    return version_us\n",
        "    return project.now_us()\n",
        (VIRTUAL,),
    ),
    Mutant(
        "an interrupted publication is finished first",
        f"{PRODUCT}/flows/publishing.py",
        "while (one := finish_interrupted(project, view)) is not None:",
        "while (one := None) is not None:",
        (VIRTUAL,),
    ),
    Mutant(
        "a batch that was committed is written down",
        f"{PRODUCT}/flows/stream_lander.py",
        "        recover(self.project, self.source)\n",
        "",
        (VIRTUAL,),
    ),
    Mutant(
        "a late event changes the rows after it",
        f"{PRODUCT}/lake/feature_rows.py",
        "return missing | (covered & (is_new | changed))",
        "return missing | (covered & is_new)",
        (VIRTUAL,),
    ),
    Mutant(
        "an identity is accepted once",
        f"{PRODUCT}/lake/claims.py",
        "loses = owners.found[by_identity] | ~starts",
        "loses = ~starts",
        (VIRTUAL,),
    ),
    Mutant(
        "what is not known yet is not seen",
        f"{PRODUCT}/kernel/asof.py",
        "return self.late or bool(",
        "return bool(",
        (KERNEL,),
    ),
    Mutant(
        "a key expires when its time is over",
        f"{PRODUCT}/kernel/asof.py",
        "return (as_of_us >= expires)",
        "return (as_of_us > expires)",
        ("tests/unit/online/test_reader.py",),
    ),
    Mutant(
        "a row leaves its window",
        f"{PRODUCT}/kernel/windows.py",
        "tail = np.where(underflow, 0, as_of_us) - window_us",
        "tail = np.where(underflow, 0, as_of_us) - window_us - 1",
        (KERNEL,),
    ),
    Mutant(
        "columns are the answer until valid_until",
        f"{PRODUCT}/online/reader.py",
        "as_of_us >= until_us",
        "as_of_us > until_us",
        ("tests/unit/online/test_reader.py",),
    ),
    Mutant(
        "columns with rows not known yet are no answer",
        f"{PRODUCT}/online/reader.py",
        "head.exact_from_us or head.later:",
        "head.exact_from_us:",
        ("tests/unit/online/test_reader.py",),
    ),
    Mutant(
        "an older write never replaces a newer one",
        f"{PRODUCT}/online/ddl.py",
        """+ ' WHERE excluded."tl_write_us" > o."tl_write_us"'""",
        """+ ' WHERE 1 = 1'""",
        ("tests/conformance/online_store/test_order.py",),
    ),
    Mutant(
        "a number of a writer counts once",
        f"{PRODUCT}/lake/arrow_commits.py",
        "_last_number(target.transaction, writer) >= number",
        "False",
        ("tests/spark/test_arrow_commits.py::test_a_number_is_spent_once",),
    ),
    Mutant(
        "an append that is repeated is skipped",
        f"{PRODUCT}/lake/tables.py",
        '        .option("txnVersion", number)\n',
        "",
        ("tests/spark/test_publishing.py",),
    ),
    Mutant(
        "a batch that was landed is not landed again",
        f"{PRODUCT}/flows/streaming.py",
        "if number <= self._landed_through:",
        "if False:",
        ("tests/faults/test_stream_kills.py::test_a_stream_killed_at_one_step_after_the_other",),
    ),
    Mutant(
        "records that Kafka deleted before they were read are not passed over",
        f"{PRODUCT}/lake/streams.py",
        '.option("failOnDataLoss", "true")',
        '.option("failOnDataLoss", "false")',
        (f"{KAFKA}::test_records_that_were_deleted_before_they_were_read_stop_the_stream",),
    ),
    Mutant(
        "a checkpoint is not older than its events",
        f"{PRODUCT}/lake/checkpoints.py",
        "if ends < known:",
        "if False:",
        ("tests/faults/test_checkpoints.py::test_an_older_copy_is_refused",),
    ),
    Mutant(
        "a topic made anew beside a stream is seen before its records are landed",
        f"{PRODUCT}/flows/stream_lander.py",
        "            before_landing()\n",
        "            pass\n",
        ("tests/faults/test_kafka_faults.py::test_a_topic_made_anew_beside_a_stream_stops_it",),
    ),
    Mutant(
        "a row is compared with the events that it reflects",
        f"{PRODUCT}/lake/reconciliation.py",
        "seen = self.version <= self.reflected[self.codes]",
        "seen = self.version >= 0",
        ("tests/unit/lake",),
    ),
    Mutant(
        "what is not published yet is no difference",
        f"{PRODUCT}/lake/reconciliation.py",
        "~seen & (self.version <= expected.published)",
        "~seen & (self.version <= expected.newest)",
        ("tests/unit/lake",),
    ),
    Mutant(
        "a repaired row is written at the time of a later commit",
        f"{PRODUCT}/flows/reconciling.py",
        "publishing.checked_write_us(project, marker.landed_us or 0)",
        "publishing.checked_write_us(project, (marker.landed_us or 0) - 10**10)",
        ("tests/spark/test_maintaining.py",),
    ),
    Mutant(
        "nobody repairs beside a batch job",
        f"{PRODUCT}/flows/reconciling.py",
        "            if taken.by != STREAM:\n                raise\n",
        "            del taken\n",
        ("tests/spark/test_maintaining.py",),
    ),
    Mutant(
        "a marker makes no other training set",
        f"{PRODUCT}/flows/training_sets.py",
        "project.landings(source).batches()",
        "project.landings(source).all()",
        ("tests/spark/test_maintaining.py",),
    ),
    Mutant(
        "a rebuild sees no row that came after the training set",
        f"{PRODUCT}/flows/training_sets.py",
        "{pin.name: pin.sequence or 0 for pin in pins}",
        "{pin.name: 2**62 for pin in pins}",
        ("tests/spark/test_receipts.py",),
    ),
    Mutant(
        "a rebuild reads a spine table at its version",
        f"{PRODUCT}/flows/rebuilding.py",
        "training_sets.read_spine(project, service, path, pin.version)",
        "training_sets.read_spine(project, service, path, None)",
        ("tests/spark/test_receipts.py",),
    ),
    Mutant(
        "an events table that was made anew is not taken for the old one",
        f"{PRODUCT}/flows/rebuilding.py",
        '    if found != pin.table_id:\n        told = f"the events table',
        '    if not found:\n        told = f"the events table',
        ("tests/spark/test_receipts.py",),
    ),
    Mutant(
        "a marker makes nothing due",
        f"{PRODUCT}/flows/publishing.py",
        "project.landings(view.source.name).batches()",
        "project.landings(view.source.name).all()",
        ("tests/spark/test_maintaining.py",),
    ),
    Mutant(
        "a row of a forgotten key is known by the gate",
        f"{PRODUCT}/flows/project.py",
        "        if not entries:\n            return None\n        from",
        "        if entries:\n            return None\n        from",
        (FORGETTING,),
    ),
    Mutant(
        "what older versions say of a forgotten key goes, too",
        f"{PRODUCT}/flows/forgetting.py",
        "                erasing.purge(project.spark, place.path, told)\n",
        "",
        (FORGETTING,),
    ),
    Mutant(
        "what a killed job found is purged by the next one",
        f"{PRODUCT}/flows/forgetting.py",
        "{name for entry in entries for name in entry.found}",
        "{name for entry in entries[-1:] for name in entry.found}",
        (FORGETTING,),
    ),
)
