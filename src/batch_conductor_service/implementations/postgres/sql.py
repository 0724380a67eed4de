"""The SQL. The rules of `domain.statements`, stated over sets of rows, and the counts for people.

The merges take each column as an array: one statement for any number of rows, sorted by key, and a
key only once.
"""

from sqlalchemy import text

from batch_conductor_service.models import OWN_PREFIX, UNREADABLE, WHOLE_BATCH_STEPS

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
        WHEN known.source = '' OR known.status <> 'completed' THEN (
            EXCLUDED.occurred_at,
            array_position(ARRAY['completed', 'pending', 'failed'], EXCLUDED.status),
            COALESCE(EXCLUDED.storage_id, '')
        ) > (
            known.occurred_at,
            array_position(ARRAY['completed', 'pending', 'failed'], known.status),
            COALESCE(known.storage_id, '')
        )
        ELSE (EXCLUDED.occurred_at, COALESCE(EXCLUDED.storage_id, ''))
            < (known.occurred_at, COALESCE(known.storage_id, ''))
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
    WHERE CASE
        WHEN known.verdict IN ('partial', 'refutes') THEN EXCLUDED.occurred_at > known.occurred_at
        ELSE EXCLUDED.occurred_at < known.occurred_at
    END
""")

# Arrays of arrays must be rectangular, so the essay ids of a registration come as JSON.
MERGE_REGISTRATIONS = text("""
    INSERT INTO batch_registrations AS known
        (batch_id, fingerprint, occurred_at, repeated_at, essays_total, essay_ids)
    SELECT
        batch_id, fingerprint, occurred_at, repeated_at, essays_total,
        ARRAY(SELECT json_array_elements_text(CAST(essay_ids AS json)))
    FROM unnest(
        CAST(:batch_ids AS text[]),
        CAST(:fingerprints AS text[]),
        CAST(:times AS timestamptz[]),
        CAST(:repeated AS timestamptz[]),
        CAST(:essays_totals AS integer[]),
        CAST(:essay_ids AS text[])
    ) AS registered (batch_id, fingerprint, occurred_at, repeated_at, essays_total, essay_ids)
    ON CONFLICT (batch_id, fingerprint) DO UPDATE SET
        occurred_at = LEAST(known.occurred_at, EXCLUDED.occurred_at),
        repeated_at = GREATEST(known.repeated_at, known.occurred_at, EXCLUDED.repeated_at)
    WHERE EXCLUDED.occurred_at < known.occurred_at
        OR EXCLUDED.repeated_at > COALESCE(known.repeated_at, known.occurred_at)
""")

# The rules of `domain.counting` and `domain.batch_state` once more, for people who read the counts.
# `strongest` holds at most one statement of a kind of an essay in a step, so that `min` in
# `essay_step` picks, and does not compare. Membership is asked with IN over a set that does not
# depend on the row: Postgres hashes it, where a join with few rows expected would loop. `effective`
# is materialized so that it does so once and not for each count.
RECOUNT = text("""
    WITH registration AS MATERIALIZED (
        SELECT
            batch_id, fingerprint, occurred_at, essays_total, essay_ids,
            COALESCE(repeated_at, occurred_at) AS repeated_at
        FROM batch_registrations
        WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
    ), since AS (
        SELECT batch_id, max(occurred_at) AS since
        FROM registration WHERE fingerprint <> :unreadable GROUP BY batch_id
    ), in_force AS (
        SELECT batch_id, essay_ids FROM registration JOIN since USING (batch_id)
        WHERE occurred_at = since AND fingerprint <> :unreadable
    ), tied AS (
        SELECT batch_id, count(*) AS ties, bool_or(cardinality(essay_ids) > 0) AS names_essays
        FROM in_force GROUP BY batch_id
    ), member AS MATERIALIZED (
        SELECT batch_id, essay_id
        FROM in_force JOIN tied USING (batch_id), unnest(essay_ids) AS essay_id
        GROUP BY batch_id, essay_id, ties HAVING count(*) = ties
    ), registered AS (
        SELECT batch_id, max(essays_total) AS essays_total
        FROM registration JOIN since USING (batch_id) WHERE repeated_at >= since GROUP BY batch_id
    ), reported AS (
        SELECT batch_id, max(reported_total) AS essays_total
        FROM phase_outcomes JOIN since USING (batch_id)
        WHERE batch_id = ANY (CAST(:batch_ids AS text[])) AND occurred_at >= since
        GROUP BY batch_id
    ), total AS (
        SELECT batch_id, GREATEST(registered.essays_total, reported.essays_total) AS essays_total
        FROM registered LEFT JOIN reported USING (batch_id)
    ), unreadable AS (
        SELECT batch_id, repeated_at AS unreadable_at
        FROM registration LEFT JOIN since USING (batch_id)
        WHERE fingerprint = :unreadable AND (since IS NULL OR since <= repeated_at)
    ), refuted AS (
        SELECT batch_id, step_name, max(occurred_at) AS refuted_at
        FROM phase_outcomes
        WHERE batch_id = ANY (CAST(:batch_ids AS text[])) AND verdict = 'refutes'
        GROUP BY batch_id, step_name
    ), statement AS (
        SELECT
            batch_id, essay_id, step_name, status, occurred_at,
            array_position(ARRAY['completed', 'pending', 'failed'], status) AS rank,
            CASE
                WHEN source = '' AND step_name <> ALL (CAST(:whole_batch_steps AS text[]))
                    THEN 'own'
                WHEN source = :unreadable THEN 'unreadable'
                WHEN status = 'completed' THEN 'completion'
                ELSE 'setback'
            END AS kind
        FROM essay_step_evidence
        WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
    ), strongest AS (
        SELECT DISTINCT ON (batch_id, essay_id, step_name, kind)
            batch_id, essay_id, step_name, kind, status, occurred_at
        FROM statement
        ORDER BY batch_id, essay_id, step_name, kind, occurred_at DESC, rank DESC
    ), essay_step AS (
        SELECT
            batch_id, essay_id, step_name,
            min(status) FILTER (WHERE kind = 'own') AS own_status,
            min(occurred_at) FILTER (WHERE kind = 'own') AS own_at,
            min(status) FILTER (WHERE kind = 'setback') AS setback_status,
            min(occurred_at) FILTER (WHERE kind = 'setback') AS setback_at,
            min(occurred_at) FILTER (WHERE kind = 'completion') AS reported_at,
            min(occurred_at) FILTER (WHERE kind = 'unreadable') AS unread_at
        FROM strongest
        GROUP BY batch_id, essay_id, step_name
    ), needs_own AS (
        SELECT batch_id, step_name, true AS needs_own FROM phase_outcomes
        WHERE batch_id = ANY (CAST(:batch_ids AS text[])) AND fingerprint = :own_unreadable
            AND step_name <> ALL (CAST(:whole_batch_steps AS text[]))
    ), weighed AS (
        SELECT
            batch_id, essay_id, step_name, own_status, own_at,
            GREATEST(setback_at, unread_at) AS setback_at,
            CASE WHEN setback_at >= COALESCE(unread_at, setback_at) THEN setback_status
                ELSE 'pending' END AS setback_status,
            CASE
                WHEN own_status IS NOT NULL THEN own_at
                WHEN unread_at IS NULL AND needs_own IS NULL THEN reported_at
            END AS completed_at,
            GREATEST(refuted_at, unreadable_at, setback_at, unread_at) AS lost_at
        FROM essay_step
        LEFT JOIN needs_own USING (batch_id, step_name)
        LEFT JOIN refuted USING (batch_id, step_name)
        LEFT JOIN unreadable USING (batch_id)
    ), effective AS MATERIALIZED (
        SELECT
            batch_id, step_name, own_at,
            CASE
                WHEN own_status <> 'completed' AND (setback_at IS NULL OR own_at > setback_at)
                    THEN own_status
                WHEN own_status <> 'completed' THEN setback_status
                WHEN completed_at > COALESCE(lost_at, '-infinity') THEN 'completed'
                WHEN setback_at >= COALESCE(completed_at, '-infinity') THEN setback_status
                ELSE 'pending'
            END AS status,
            COALESCE(NOT names_essays, true)
                OR (batch_id, essay_id) IN (SELECT batch_id, essay_id FROM member) AS counts
        FROM weighed
        LEFT JOIN tied USING (batch_id)
    ), counted AS (
        SELECT
            batch_id, step_name,
            count(*) FILTER (WHERE counts AND status = 'completed') AS completed,
            count(*) FILTER (WHERE counts AND status = 'failed') AS failed,
            max(own_at) FILTER (WHERE counts) AS last_observed_at
        FROM effective
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
        batch_id, step_name, COALESCE(completed, 0), COALESCE(failed, 0), total.essays_total,
        last_observed_at
    FROM step
    LEFT JOIN counted USING (batch_id, step_name)
    LEFT JOIN total USING (batch_id)
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
""").bindparams(
    unreadable=UNREADABLE,
    own_unreadable=OWN_PREFIX + UNREADABLE,
    whole_batch_steps=sorted(WHOLE_BATCH_STEPS),
)

SELECT_EVIDENCE = text("""
    SELECT batch_id, essay_id, step_name, source, status, occurred_at, storage_id
    FROM essay_step_evidence WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")

SELECT_OUTCOMES = text("""
    SELECT batch_id, step_name, fingerprint, occurred_at, status, verdict, reported_total
    FROM phase_outcomes WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")

SELECT_REGISTRATIONS = text("""
    SELECT batch_id, fingerprint, occurred_at, repeated_at, essays_total, essay_ids
    FROM batch_registrations WHERE batch_id = ANY (CAST(:batch_ids AS text[]))
""")
