-- A producer asks for many.
SELECT orbit.enqueue_many(%(runs)s::text::jsonb) AS ids;
