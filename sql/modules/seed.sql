-- seed: sample people for trying things out.

CREATE FUNCTION @extschema@.bs_seed(users integer DEFAULT 100, history boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'
AS $$
DECLARE
    zones constant text[] := '{Pacific/Kiritimati,Asia/Tokyo,Asia/Kathmandu,Asia/Kolkata,Europe/Kyiv,Europe/London,America/Sao_Paulo,America/St_Johns,America/New_York,Pacific/Honolulu,Pacific/Pago_Pago}';
    first_names constant text[] := '{Amina,Bjørn,Chloé,Дмитро,Elif,Fatou,小明,Hana,Ivana,José,Kavya,Łukasz,مريم}';
    last_names constant text[] := '{Abe,Björk,Castro,Шевченко,Demir,Eze,王,Fischer,Gupta,O''Brien,Haddad}';
    cities constant text[] := '{Tarawa,Tokyo,Kathmandu,Kolkata,Kyiv,London,"São Paulo","St. John''s","New York",Honolulu,"Pago Pago"}';
    batch text := substr(gen_random_uuid()::text, 1, 8);
    made bigint;
BEGIN
    IF users NOT BETWEEN 1 AND 10000000 THEN
        RAISE EXCEPTION 'users must lie between 1 and 10000000, not %', users
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM @extschema@.bs_adopt(false);

    WITH added AS (
        INSERT INTO @extschema@.users
               (first_name, last_name, email, timezone, birthday_date, anniversary_date, location_city, created_at)
        SELECT first_names[1 + n % cardinality(first_names)],
               last_names[1 + n / 3 % cardinality(last_names)],
               format('seed-%s-%s@example.com', batch, n),
               zones[1 + n % cardinality(zones)],
               date '1950-01-01' + n * 37 % 18000,
               CASE WHEN n % 3 = 0 THEN date '2005-01-01' + n * 53 % 6500 END,
               cities[1 + n % cardinality(zones)],
               now() - interval '60 days'
          FROM generate_series(1, users) AS n
        RETURNING id
    )
    SELECT count(*) INTO made FROM added;

    IF history THEN
        -- Of each user, one day of the last five weeks, as if it had been a birthday.
        PERFORM @extschema@.bs_create_partitions_between(
            @extschema@.bs_month(now() - interval '40 days'), @extschema@.bs_month(now()));
        WITH past AS (
            SELECT u.*, d.local_date,
                   @extschema@.bs_send_time(u.timezone::text, d.local_date, '09:00'::time) AS send_at,
                   CASE WHEN u.n % 50 = 49 THEN 'EXPIRED' WHEN u.n % 20 = 19 THEN 'FAILED'
                        WHEN u.n % 25 = 24 THEN 'CANCELLED' ELSE 'SENT' END AS status
              FROM (SELECT u.*, row_number() OVER (ORDER BY u.id)::integer AS n
                      FROM ONLY @extschema@.users u
                     WHERE u.email LIKE 'seed-' || batch || '-%') u
                   CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date - 4 - u.n % 30 AS local_date) d
        ), won AS (
            INSERT INTO @extschema@.message_ledger (user_id, message_type, local_date)
            SELECT p.id, 'BIRTHDAY', p.local_date FROM past p
                ON CONFLICT DO NOTHING
            RETURNING user_id
        )
        INSERT INTO @extschema@.message_logs
               (user_id, message_type, local_date, scheduled_send_time, idempotency_key,
                recipient_email, recipient_name, subject, message_content,
                status, status_reason, attempts, last_retry_at, actual_send_time,
                api_response_code, api_response_body, error_message)
        SELECT p.id, 'BIRTHDAY', p.local_date, p.send_at,
               format('%s:BIRTHDAY:%s', p.id, to_char(p.local_date, 'YYYY-MM-DD')),
               p.email, p.first_name || ' ' || p.last_name,
               'Happy birthday, ' || p.first_name || '!',
               format('Hey, %s %s it''s your birthday', p.first_name, p.last_name),
               p.status,
               CASE p.status WHEN 'SENT' THEN 'accepted' WHEN 'FAILED' THEN 'refused'
                             WHEN 'EXPIRED' THEN 'too_late' ELSE 'date_changed' END,
               CASE WHEN p.status IN ('SENT', 'FAILED') THEN 1 ELSE 0 END,
               CASE WHEN p.status IN ('SENT', 'FAILED') THEN p.send_at + interval '3 milliseconds' END,
               CASE p.status WHEN 'SENT' THEN p.send_at + interval '40 milliseconds' END,
               CASE p.status WHEN 'SENT' THEN 250 WHEN 'FAILED' THEN 550 END,
               CASE p.status WHEN 'SENT' THEN '250 2.0.0 Ok' WHEN 'FAILED' THEN '550 5.1.1 no such user' END,
               CASE p.status WHEN 'FAILED' THEN 'the relay refused the message' END
          FROM won w
               JOIN past p ON p.id = w.user_id;
    END IF;
    RETURN made;
END
$$;
COMMENT ON FUNCTION @extschema@.bs_seed(integer, boolean) IS
'Adds sample people (1 to 10000000) in eleven zones, addresses at example.com, and with history past messages in several states; gives the number of people. Error 22023.';
