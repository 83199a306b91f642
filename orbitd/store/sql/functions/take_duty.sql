-- Take a duty of the fleet that is due, among those that the caller knows: it is due again after its usual time, whatever becomes
-- of whoever has taken it. Null: none is due. There is no leader, and so none that can be lost.
-- Locks: duties, SKIP LOCKED.
CREATE OR REPLACE FUNCTION orbit.take_duty(p_host int, p_known text[]) RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_name text;
BEGIN
    UPDATE orbit.duties d
       SET next_at = v_now + d.every, host = p_host
     WHERE d.name = (
               SELECT due.name
                 FROM orbit.duties due
                WHERE due.next_at <= v_now AND due.name = ANY (p_known)
                ORDER BY due.next_at, due.name
                LIMIT 1
                  FOR UPDATE SKIP LOCKED
           )
    RETURNING d.name INTO v_name;
    RETURN v_name;
END
$$;
