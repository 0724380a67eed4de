"""The SQL. The rules of `domain.merging` and `BatchState.summarise`, stated over sets of rows.

The merges take each column as an array: one statement for any number of rows, sorted by key, and a
key only once.
"""

from sqlalchemy import text

# Recounts of one batch by concurrent workers would each miss the other's rows. Batches share a
# fixed number of locks, because the server's lock table is not large; they are taken in one order.
LOCK_BATCHES = text("""
    SELECT pg_advisory_xact_lock(lock) FROM (
        SELECT DISTINCT hashtextextended(batch_id, 0) & 1023 AS lock
        FROM unnest(CAST(:batch_ids AS text[])) AS batch_id
        ORDER BY lock
    ) AS locks
""")

MERGE_EVIDENCE = text("""
    INSERT INTO essay_step_evidence AS known
        (batch_id, essay_id, step_name, source, status, occurred_at, storage_id)
    SELECT * FROM unnest(
        CAST(:batch_ids AS text[]),
        CAST(:essay_ids AS text[]),
        CAST(:step_names AS text[]),
        CAST(:sources AS text[]),
        CAST(:statuses AS text[]),
        CAST(:times AS timestamptz[]),
        CAST(:storage_ids AS text[])
    )
    ON CONFLICT (batch_id, essay_id, step_name, source) DO UPDATE SET
        status = EXCLUDED.status,
        occurred_at = EXCLUDED.occurred_at,
        storage_id = EXCLUDED.storage_id,
        recorded_at = now()
    WHERE CASE
        WHEN known.source = '' THEN (
            EXCLUDED.occurred_at,
            array_position(ARRAY['completed', 'pending', 'failed'], EXCLUDED.status),
            COALESCE(EXCLUDED.storage_id, '')
        ) > (
            known.occurred_at,
            array_position(ARRAY['completed', 'pending', 'failed'], known.status),
            COALESCE(known.storage_id, '')
        )
        ELSE EXCLUDED.occurred_at < known.occurred_at
    END
""")

MERGE_OUTCOMES = text("""
    INSERT INTO phase_outcomes AS known
        (batch_id, step_name, fingerprint, occurred_at, status, verdict, reported_total)
    SELECT * FROM unnest(
        CAST(:batch_ids AS text[]),
        CAST(:step_names AS text[]),
        CAST(:fingerprints AS text[]),
        CAST(:times AS timestamptz[]),
        CAST(:statuses AS text[]),
        CAST(:verdicts AS text[]),
        CAST(:reported_totals AS integer[])
    )
    ON CONFLICT (batch_id, step_name, fingerprint) DO UPDATE SET
        occurred_at = EXCLUDED.occurred_at,
        status = EXCLUDED.status,
        verdict = EXCLUDED.verdict,
        reported_total = EXCLUDED.reported_total
    WHERE EXCLUDED.occurred_at < known.occurred_at
""")

# Arrays of arrays must be rectangular, so the essay ids of a registration come as JSON.
MERGE_REGISTRATIONS = text("""
    INSERT INTO batch_registrations AS known
        (batch_id, fingerprint, occurred_at, essays_total, essay_ids)
    SELECT
        batch_id, fingerprint, occurred_at, essays_total,
        ARRAY(SELECT json_array_elements_text(CAST(essay_ids AS json)))
    FROM unnest(
        CAST(:batch_ids AS text[]),
        CAST(:fingerprints AS text[]),
        CAST(:times AS timestamptz[]),
        CAST(:essays_totals AS integer[]),
        CAST(:essay_ids AS text[])
    ) AS registered (batch_id, fingerprint, occurred_at, essays_total, essay_ids)
    ON CONFLICT (batch_id, fingerprint) DO UPDATE SET
        occurred_at = EXCLUDED.occurred_at,
        essays_total = EXCLUDED.essays_total,
        essay_ids = EXCLUDED.essay_ids
    WHERE EXCLUDED.occurred_at < known.occurred_at
""")

# What completed no later than the last refutation does not stand (`merging.standing_status`).
# `strongest` holds at most one observed and one reported statement of an essay in a step, so that
# `min` in `essay_step` picks, and does not compare. Membership is asked with IN over a set that
# does not depend on the row: Postgres hashes it, where a join with few rows expected would loop.
# `effective` is materialized so that it does so once and not for each count.
RECOUNT = text("""
    WITH registration AS (
        SELECT DISTINCT ON (batch_id) batch_id, essays_total, essay_ids
        FROM batch_registrations
        WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
        ORDER BY batch_id, occurred_at DESC, essays_total DESC, fingerprint DESC
    ), member AS MATERIALIZED (
        SELECT batch_id, essay_id FROM registration, unnest(essay_ids) AS essay_id
    ), reported AS (
        SELECT batch_id, NULLIF(max(reported_total), 0) AS essays_total
        FROM phase_outcomes
        WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
        GROUP BY batch_id
    ), refuted AS (
        SELECT batch_id, step_name, max(occurred_at) AS refuted_at
        FROM phase_outcomes
        WHERE batch_id = ANY (CAST(:batch_ids AS text[])) AND verdict = 'refutes'
        GROUP BY batch_id, step_name
    ), strongest AS (
        SELECT DISTINCT ON (batch_id, essay_id, step_name, source = '')
            batch_id, essay_id, step_name, source = '' AS is_observed, status, occurred_at
        FROM essay_step_evidence
        WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
        ORDER BY
            batch_id, essay_id, step_name, source = '', occurred_at DESC,
            array_position(ARRAY['completed', 'pending', 'failed'], status) DESC
    ), essay_step AS (
        SELECT
            batch_id, essay_id, step_name,
            min(status) FILTER (WHERE is_observed) AS observed_status,
            min(occurred_at) FILTER (WHERE is_observed) AS observed_at,
            min(status) FILTER (WHERE NOT is_observed) AS reported_status,
            min(occurred_at) FILTER (WHERE NOT is_observed) AS reported_at,
            max(occurred_at) FILTER (WHERE status = 'completed') AS completed_at
        FROM strongest
        GROUP BY batch_id, essay_id, step_name
    ), effective AS MATERIALIZED (
        SELECT
            batch_id, step_name, observed_at, completed_at,
            CASE
                WHEN observed_at IS NULL THEN reported_status
                WHEN reported_status <> 'completed' AND reported_at >= observed_at
                    THEN reported_status
                ELSE observed_status
            END AS status,
            batch_id NOT IN (SELECT batch_id FROM member)
                OR (batch_id, essay_id) IN (SELECT batch_id, essay_id FROM member) AS is_expected
        FROM essay_step
    ), counted AS (
        SELECT
            batch_id, step_name,
            count(*) FILTER (
                WHERE is_expected AND status = 'completed'
                AND (refuted_at IS NULL OR completed_at > refuted_at)
            ) AS completed,
            count(*) FILTER (WHERE is_expected AND status = 'failed') AS failed,
            max(observed_at) FILTER (WHERE is_expected) AS last_observed_at
        FROM effective
        LEFT JOIN refuted USING (batch_id, step_name)
        GROUP BY batch_id, step_name
    ), step AS (
        SELECT batch_id, step_name FROM counted
        UNION
        SELECT batch_id, step_name FROM phase_outcomes
        WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
    )
    INSERT INTO processing_pipeline_state AS known
        (batch_id, step_name, completed_count, failed_count, essays_total, last_observed_at)
    SELECT
        batch_id, step_name, COALESCE(completed, 0), COALESCE(failed, 0),
        COALESCE(registration.essays_total, reported.essays_total), last_observed_at
    FROM step
    LEFT JOIN counted USING (batch_id, step_name)
    LEFT JOIN registration USING (batch_id)
    LEFT JOIN reported USING (batch_id)
    ORDER BY batch_id, step_name
    ON CONFLICT (batch_id, step_name) DO UPDATE SET
        completed_count = EXCLUDED.completed_count,
        failed_count = EXCLUDED.failed_count,
        essays_total = EXCLUDED.essays_total,
        last_observed_at = EXCLUDED.last_observed_at,
        updated_at = now()
    WHERE (
        known.completed_count, known.failed_count, known.essays_total, known.last_observed_at
    ) IS DISTINCT FROM (
        EXCLUDED.completed_count, EXCLUDED.failed_count, EXCLUDED.essays_total,
        EXCLUDED.last_observed_at
    )
""")

SELECT_EVIDENCE = text("""
    SELECT batch_id, essay_id, step_name, source, status, occurred_at, storage_id
    FROM essay_step_evidence WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")

SELECT_OUTCOMES = text("""
    SELECT batch_id, step_name, fingerprint, occurred_at, status, verdict, reported_total
    FROM phase_outcomes WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")

SELECT_REGISTRATIONS = text("""
    SELECT batch_id, fingerprint, occurred_at, essays_total, essay_ids
    FROM batch_registrations WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")
